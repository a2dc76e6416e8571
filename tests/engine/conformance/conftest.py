"""The queued handlers as a real system, and the reference app in plain FastAPI: one of each for all tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.conformance.comparing import Pair
from tests.engine.conformance.handlers.levels import DEAR
from tests.engine.conformance.reference import app as reference
from tests.engine.system.system import System, served

HANDLERS = "tests.engine.conformance.handlers"


@pytest.fixture(scope="package")
def conforming(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway and one worker that takes no dear work."""
    with served(server, tmp_path_factory, HANDLERS, of_worker={"FLOODGATE_WORKER_MAX_LEVEL": str(DEAR - 1)}) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pair(conforming: System) -> AsyncIterator[Pair]:
    """A client of the real system, and the reference app."""
    async with httpx.AsyncClient(base_url=conforming.apps[0].url, timeout=15, verify=False) as ours:
        yield Pair(ours, reference)

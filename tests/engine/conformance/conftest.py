"""The queued handlers as a real system, and the reference app in plain FastAPI: one of each for all tests here."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.conformance.comparing import Pair
from tests.engine.conformance.handlers.levels import DEAR
from tests.engine.conformance.reference import app as reference
from tests.engine.leaks import leaks
from tests.engine.system.system import System, await_ready, system

HANDLERS = "tests.engine.conformance.handlers"


@pytest.fixture(scope="package")
def served(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway and one worker that takes no dear work; at the end no key is left behind."""
    name = f"conformance{uuid.uuid4().hex[:10]}"
    with system(tmp_path_factory.mktemp("conformance"), server.url, name, handlers=HANDLERS) as running:
        worker = running.worker(wait=False, FLOODGATE_WORKER_MAX_LEVEL=str(DEAR - 1))
        running.gateway()
        await_ready(worker)
        yield running
    with contextlib.closing(Redis.from_url(server.url)) as client:
        assert leaks(client, Keys(name)) == []


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pair(served: System) -> AsyncIterator[Pair]:
    """A client of the real system, and the reference app."""
    async with httpx.AsyncClient(base_url=served.apps[1].url, timeout=15, verify=False) as ours:
        yield Pair(ours, reference)

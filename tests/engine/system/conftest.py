"""One running system of the edge handlers per module, and a way to start one of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.controls import Lacking, beside, started
from tests.engine.system.system import App, System, served, system

PLACES = 8
THREADS = 4
MOST_BODY = 64 * 1024
MOST_RESULT = 100_000


@pytest.fixture(scope="module")
def edge(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway and one worker, small in every respect."""
    with served(
        server,
        tmp_path_factory,
        worker_concurrency=PLACES,
        worker_threads=THREADS,
        max_body_bytes=MOST_BODY,
        max_result_bytes=MOST_RESULT,
    ) as running:
        yield running


@pytest.fixture
def gateway(edge: System) -> App:
    """The gateway of the module's system."""
    return edge.apps[0]


@pytest.fixture
def worker(edge: System) -> App:
    """The worker of the module's system."""
    return edge.apps[1]


@pytest.fixture
async def client(gateway: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the module's gateway."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system of the benchmarks' controls, with all of them."""
    with started(tmp_path_factory.mktemp("whole"), server.url) as running:
        yield running


@pytest.fixture
def without(whole: System, server: EmbeddedServer, tmp_path: Path) -> Lacking:
    """The same beside one that lacks a control."""
    return beside(whole, tmp_path, server.url)


@pytest.fixture
def own(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    """A system of one's own, still without processes; its namespace is checked for leaks at the end."""
    with system(tmp_path, redis_url, namespace) as running:
        yield running

"""One running system of the edge handlers per module, and a way to start one of one's own."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.leaks import leaks
from tests.engine.system.system import App, System, await_ready, system

PLACES = 8
THREADS = 4
MOST_BODY = 64 * 1024
MOST_RESULT = 100_000


@pytest.fixture(scope="module")
def edge(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway and one worker, small in every respect; after the module no key is left behind."""
    name = f"edge{uuid.uuid4().hex[:10]}"
    small = {"FLOODGATE_WORKER_CONCURRENCY": PLACES, "FLOODGATE_WORKER_THREADS": THREADS}
    small |= {"FLOODGATE_MAX_BODY_BYTES": MOST_BODY, "FLOODGATE_MAX_RESULT_BYTES": MOST_RESULT}
    env = {key: str(value) for key, value in small.items()}
    with system(tmp_path_factory.mktemp("edge"), server.url, name, **env) as running:
        running.worker(wait=False)
        running.gateway()
        running.apps.reverse()  # the gateway first
        await_ready(running.apps[1])
        yield running
    with contextlib.closing(Redis.from_url(server.url)) as client:
        assert leaks(client, Keys(name)) == []


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


@pytest.fixture
def own(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    """A system of one's own, still without processes; its namespace is checked for leaks at the end."""
    with system(tmp_path, redis_url, namespace) as running:
        yield running

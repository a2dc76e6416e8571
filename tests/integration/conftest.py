"""A queue per test, on the embedded server and once more on Debian's redis-server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from floodgate.run.embedded import EmbeddedServer
from tests.leaks import leaks
from tests.queueing import Queue

DEBIAN = Path("/usr/bin/redis-server")


@pytest.fixture(scope="session")
def debian() -> Iterator[EmbeddedServer]:
    """Debian's server; the tests that ask for it are marked `redis_server`."""
    if not DEBIAN.exists():
        pytest.skip("needs Debian's redis-server")
    with EmbeddedServer(binary=DEBIAN) as server:
        yield server


@pytest.fixture(params=["server", pytest.param("debian", marks=pytest.mark.redis_server)])
def queue(request: pytest.FixtureRequest, namespace: str) -> Iterator[Queue]:
    """A queue with one route of limit 3, one lane and one registered worker of 10 places."""
    server: EmbeddedServer = request.getfixturevalue(request.param)
    with contextlib.closing(Redis.from_url(server.url)) as client:
        queue = Queue(client, namespace)
        queue.declare()
        queue.register()
        yield queue
        queue.close()
        if not request.node.get_closest_marker("leaves_garbage"):
            assert leaks(client, queue.keys) == []

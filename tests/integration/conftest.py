"""A queue per test, on the embedded server and, where it is installed, on Debian's too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.queueing import Queue


@pytest.fixture
def queue(redis_url: str, namespace: str) -> Iterator[Queue]:
    """A queue with one route of limit 3, one lane and one registered worker of 10 places."""
    with contextlib.closing(Redis.from_url(redis_url)) as client:
        queue = Queue(client, namespace)
        queue.declare()
        queue.register()
        yield queue
        queue.close()

"""One queue per test: a route that allows three tasks, and one worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.engine.queueing import Queue


@pytest.fixture
def queue(redis_url: str, namespace: str) -> Iterator[Queue]:
    with contextlib.closing(Redis.from_url(redis_url)) as client:
        queue = Queue(client, namespace)
        queue.declare(limit=3)
        queue.register()
        yield queue

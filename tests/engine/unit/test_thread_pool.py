"""Threads for sync handlers: as many as may run at once, also after the system could start none for a while."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from floodgate.worker.thread_pool import ThreadPool

COUNT = 4
BEYOND = 1 << 47
"""Bytes of a stack that no address space has room for: the system refuses the thread."""


@contextlib.contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    threading.stack_size(BEYOND)
    try:
        yield
    finally:
        threading.stack_size(0)


async def all_at_once(threads: ThreadPool) -> None:
    """Run as many calls as there are threads, that can only end when all of them run."""
    together = threading.Barrier(COUNT)
    results = await asyncio.gather(*(threads.submit(lambda: together.wait(5)) for _ in range(COUNT)))
    assert [error for _, error in results] == [None] * COUNT


async def test_every_place_has_a_thread() -> None:
    threads = ThreadPool(COUNT)
    await all_at_once(threads)
    threads.close()


@pytest.mark.parametrize("started", [0, 1, COUNT - 1])
async def test_a_thread_that_could_not_be_started_is_started_later(
    started: int, caplog: pytest.LogCaptureFixture
) -> None:
    threads = ThreadPool(COUNT)
    for _ in range(started):
        await threads.submit(lambda: None)
    with no_thread_to_be_had():
        if started:
            assert await threads.submit(lambda: "waits for another") == ("waits for another", None)
        else:
            with pytest.raises(RuntimeError, match="start new thread"):
                threads.submit(lambda: None)
    assert "no thread" in caplog.text
    await all_at_once(threads)
    threads.close()

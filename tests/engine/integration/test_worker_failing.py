"""A worker that cannot do its work any more says so, ends what it can, and ends itself for another to be started."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated

import pytest

from floodgate.errors import WorkerFailed
from floodgate.testing import System, SystemFactory, Worker
from floodgate.worker.metrics import OVERDUE
from shared import Resource, queued

THREADS = 2
STUCK_S = 1.0

hold = threading.Event()
breaks = threading.Event()


async def feed() -> AsyncIterator[str]:
    async def subscribe() -> None:
        while not breaks.is_set():
            await asyncio.sleep(0.01)
        raise ConnectionError("the feed broke")

    async with asyncio.TaskGroup() as group:
        subscription = group.create_task(subscribe())
        yield "open"
        subscription.cancel()


@queued("/failing/hangs", 10, timeout_s=0.4)
def hangs() -> None:
    hold.wait(30)


@queued("/failing/quick", 10)
def quick() -> None: ...


@queued("/failing/slow", 10)
async def slow(feed: Annotated[str, Resource(feed)]) -> str:
    await asyncio.sleep(0.5)
    return feed


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    hold.clear()
    breaks.clear()
    yield
    hold.set()


async def seen(met: Callable[[], bool], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not met():
            await asyncio.sleep(0.01)


async def ended(system: System, worker: Worker) -> str:
    """Return why a worker ended by itself."""
    system.workers.remove(worker)
    async with asyncio.timeout(15):
        with pytest.raises(WorkerFailed) as failure:
            await worker.running
    return str(failure.value)


async def test_a_worker_whose_threads_are_all_held_past_their_deadline_is_not_ready_and_ends(
    floodgate: SystemFactory,
) -> None:
    async with floodgate(__name__, worker_threads=THREADS, stuck_s=STUCK_S, drain_s=15) as system:
        (worker,) = system.workers
        answers = await asyncio.gather(*(system.get("/failing/hangs") for _ in range(THREADS)))
        assert {answer.status_code for answer in answers} == {504}
        await seen(lambda: not worker.ready)
        assert (await worker.collect_metrics()).numbers(OVERDUE, "sync") == [THREADS]
        began = time.monotonic()
        under_way = asyncio.create_task(system.get("/failing/slow"))
        assert "FLOODGATE_STUCK_S" in await ended(system, worker)
        assert time.monotonic() - began < 15, "what hangs is not waited for"
        assert (await under_way).status_code == 200, "what the event loop runs ends as in any drain"
        await system.add_worker()
        assert (await system.get("/failing/quick")).status_code == 200


async def test_a_worker_with_a_thread_left_goes_on(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, worker_threads=THREADS, stuck_s=0.2) as system:
        (worker,) = system.workers
        assert (await system.get("/failing/hangs")).status_code == 504
        await asyncio.sleep(0.6)
        assert worker.ready
        assert (await system.get("/failing/quick")).status_code == 200
        hold.set()


async def test_a_resource_that_fails_at_work_ends_the_worker_after_what_it_runs(
    floodgate: SystemFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async with floodgate(__name__) as system:
        (worker,) = system.workers
        under_way = asyncio.create_task(system.get("/failing/slow"))
        await seen(lambda: any(consumer.executor.runs for consumer in worker._consumers))
        breaks.set()
        await seen(lambda: not worker.ready)
        assert "resource" in await ended(system, worker)
        assert (await under_way).status_code == 200
        assert "the feed broke" in caplog.text

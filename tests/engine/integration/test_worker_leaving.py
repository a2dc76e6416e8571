"""A leaving worker requeues what it cannot end, and a full one hears of clients that leave."""

from __future__ import annotations

import asyncio
import threading

from floodgate.broker.commands import MAX_BATCH
from floodgate.testing import System, SystemFactory
from shared import queued

RUNS = MAX_BATCH + 10
LEASE_S = 20
"""Long enough for a test that nothing comes back by the end of a lease."""

started, ended = threading.Event(), threading.Event()


@queued("/leaving/endless", RUNS, method="POST", timeout_s=60)
async def endless() -> None:
    await asyncio.sleep(60)


async def admitted(system: System) -> int:
    """Ask until it is admitted: on a busy machine so many at once may take longer than an admission waits for Redis."""
    while (answer := await system.post("/leaving/endless", timeout=60)).status_code == 503:
        await asyncio.sleep(0.05)
    return answer.status_code


async def test_a_worker_requeues_more_runs_than_one_call_takes(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, worker_concurrency=RUNS, drain_s=0.2, lease_s=LEASE_S) as system:
        (worker,) = system.workers
        asked = [asyncio.create_task(admitted(system)) for _ in range(RUNS)]
        async with asyncio.timeout(20):
            while sum(len(consumer.executor.runs) for consumer in worker._consumers) < RUNS:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(LEASE_S / 2):
            worker.begin_drain()
            await worker.running
            statuses = set(await asyncio.gather(*asked))
        assert statuses == {502}


@queued("/leaving/nap", 10, timeout_s=60)
async def nap() -> None:
    started.set()
    try:
        await asyncio.sleep(60)
    finally:
        ended.set()


async def test_a_worker_that_is_full_hears_of_a_client_that_leaves(floodgate: SystemFactory) -> None:
    started.clear()
    ended.clear()
    async with floodgate(
        __name__, worker_concurrency=1, lease_s=60
    ) as system:  # renewals, which tell it too, are 12 s apart
        asked = asyncio.create_task(system.get("/leaving/nap"))
        assert await asyncio.to_thread(started.wait, 5)
        await asyncio.sleep(0.5)
        asked.cancel()
        assert await asyncio.to_thread(ended.wait, 5)
        started.clear()
        asked = asyncio.create_task(system.get("/leaving/nap"))  # it claims as before
        assert await asyncio.to_thread(started.wait, 5)
        asked.cancel()

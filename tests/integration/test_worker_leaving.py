"""What a leaving worker cannot end it gives back, however much that is."""

from __future__ import annotations

import asyncio

from shared import queued
from shared.queue.scripts.calls import MAX_BATCH
from tests.kit import Kit

RUNS = MAX_BATCH + 10
LEASE_S = 20
"""Long enough for a test that nothing comes back by the end of a lease."""


@queued("/leaving/endless", RUNS, method="POST", timeout_s=60)
async def endless() -> None:
    await asyncio.sleep(60)


async def test_a_worker_gives_back_more_runs_than_one_call_takes(floodgate: Kit) -> None:
    async with floodgate(__name__, worker_places=RUNS, drain_s=0.2, lease_s=LEASE_S) as system:
        (worker,) = system.workers
        asked = [asyncio.create_task(system.post("/leaving/endless", timeout=60)) for _ in range(RUNS)]
        async with asyncio.timeout(20):
            while sum(len(claimer.executor.runs) for claimer in worker._claimers) < RUNS:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(LEASE_S / 2):
            worker.begin_drain()
            await worker.running
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {502}

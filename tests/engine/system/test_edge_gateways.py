"""A gateway that is killed or frozen: nothing starts for nobody, and whoever comes back is answered."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import httpx
import pytest

from tests.engine.system.system import LEASE_S, App, System, until_async

ASKED = 10
PLACES = 2
RUN_S = 0.5


def starts(system: System) -> int:
    return sum(system.noted(f"g{n}").count("start") for n in range(ASKED))


async def busy(system: System) -> App:
    """Return a gateway, where a worker has shown how long a handler takes."""
    worker, gateway = system.worker(wait=False, FLOODGATE_WORKER_CONCURRENCY=str(PLACES)), system.gateway(wait=False)
    await until_async(lambda: worker.ready and gateway.ready, 10)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        for _ in range(3):
            assert (await client.post("/sleep?tag=warm&seconds=0.3")).status_code == 200
    return gateway


@pytest.mark.slow
async def test_what_waits_for_a_killed_gateway_is_not_started_for_nobody(own: System) -> None:
    gateway = await busy(own)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        asked = [asyncio.create_task(client.post(f"/sleep?tag=g{n}&seconds={RUN_S}")) for n in range(ASKED)]
        await until_async(lambda: starts(own) == PLACES)
        gateway.kill()
        await asyncio.gather(*asked, return_exceptions=True)
    await asyncio.sleep(LEASE_S + 1)
    started = starts(own)
    assert started < ASKED
    await asyncio.sleep(2 * RUN_S)
    assert starts(own) == started


@pytest.mark.slow
async def test_a_gateway_that_comes_back_answers_what_was_dropped(own: System) -> None:
    gateway = await busy(own)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        asked = [asyncio.create_task(client.post(f"/sleep?tag=g{n}&seconds={RUN_S}")) for n in range(ASKED)]
        await until_async(lambda: starts(own) == PLACES)
        gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S + 1.5)
        gateway.signal(signal.SIGCONT)
        async with asyncio.timeout(3):
            answers = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in answers) == {200: starts(own), 503: ASKED - starts(own)}
    assert starts(own) < ASKED

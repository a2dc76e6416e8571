"""What idle workers ask of Redis while a route's tasks are held back, on the engines themselves."""

from __future__ import annotations

import asyncio
import contextlib

from redis.asyncio import Redis

from floodgate.broker.scripts import SCRIPTS
from floodgate.testing import SystemFactory
from shared import queued

OBSERVED_S = 3.0
MOST_CLAIMS_PER_S = 2


@queued("/one-at-a-time", 100, max_running=1, timeout_s=8)
async def one_at_a_time(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def claims_of(redis_url: str, namespace: str) -> int:
    """Count the claims of a namespace for a while, by watching the server."""
    seen = 0
    async with Redis.from_url(redis_url) as client, client.monitor() as monitor:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OBSERVED_S):
                async for command in monitor.listen():
                    seen += SCRIPTS["claim"].sha in command["command"] and f"{{{namespace}:" in command["command"]
    return seen


async def test_a_task_behind_max_running_wakes_nobody(floodgate: SystemFactory, redis_url: str, namespace: str) -> None:
    async with floodgate(__name__, workers=2) as system:
        asking = [asyncio.create_task(system.get("/one-at-a-time", params={"seconds": 4})) for _ in range(2)]
        await asyncio.sleep(0.3)
        assert await claims_of(redis_url, namespace) <= MOST_CLAIMS_PER_S * OBSERVED_S
        for task in asking:
            task.cancel()


async def test_a_task_behind_max_running_starts_when_its_turn_comes(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, workers=2) as system:
        await system.get("/one-at-a-time", params={"seconds": 0.1})  # before it, the door lets in one who waits
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(system.get("/one-at-a-time", params={"seconds": 0.1}) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
        assert 0.5 <= asyncio.get_running_loop().time() - began < 1

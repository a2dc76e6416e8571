"""What a worker declares gets known although a call on the way there is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from floodgate.broker.connection import run
from floodgate.broker.keys import Keys
from floodgate.errors import Unavailable
from floodgate.testing import SystemFactory, Worker
from floodgate.worker import heartbeat
from floodgate.worker.metrics import GONE
from shared import queued

NO_LEASES = 5
"""Arguments of a renewal for one lane."""

hold = threading.Event()


@queued("/registering/nap", 10)
async def nap() -> None:
    await asyncio.sleep(0.2)


@queued("/registering/holds", 10, timeout_s=2)
def holds() -> None:
    hold.wait(10)


@pytest.mark.parametrize(
    ("script", "before"),
    [
        pytest.param("declare", True, id="declare-is-not-sent"),
        pytest.param("renew", False, id="the-answer-of-the-first-renewal-is-lost"),
    ],
)
async def test_a_release_is_declared_although_a_call_is_lost(
    floodgate: SystemFactory,
    redis_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    before: bool,
) -> None:
    lost = asyncio.Event()

    async def losing(client: Any, call: Any, *more: Any) -> Any:
        if call.script.name != script or lost.is_set():
            return await run(client, call, *more)
        lost.set()
        if not before:
            await run(client, call, *more)
        raise Unavailable("lost on its way")

    monkeypatch.setattr(heartbeat, "run", losing)
    async with floodgate(__name__) as system, Redis.from_url(redis_url) as client, asyncio.timeout(5):
        while not await client.hexists(Keys(namespace).releases(), system.registry.release_digest):
            await asyncio.sleep(0.05)
    assert lost.is_set()


async def test_a_completion_that_overtakes_a_renewal_is_no_lost_lease(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone: list[str] = []

    async def overtaken(client: Any, call: Any, *more: Any) -> Any:
        held = call.script.name == "renew" and len(call.args) > NO_LEASES
        if held:  # what it says of leases was true a moment ago
            await asyncio.sleep(0.25)
        reply = await run(client, call, *more)
        gone.extend(reply.gone if held else ())
        return reply

    monkeypatch.setattr(heartbeat, "run", overtaken)
    async with floodgate(__name__, lease_s=1.5) as system:
        (worker,) = system.workers
        while not gone:
            assert (await system.get("/registering/nap")).status_code == 200
        assert await counted(worker) == 0
    assert "leases are gone" not in caplog.text


async def test_a_lease_that_is_lost_is_counted_once_however_often_it_is_renewed(
    floodgate: SystemFactory, redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    hold.clear()
    try:
        async with floodgate(__name__, lease_s=0.5) as system, Redis.from_url(redis_url) as client:
            (worker,) = system.workers
            asked = asyncio.create_task(system.get("/registering/holds"))
            await seen(lambda: any(consumer.executor.runs for consumer in worker._consumers))
            (route,) = (h.route for h in system.registry.handlers if h.function is holds)
            await client.delete(Keys(namespace).running(route))
            await seen(lambda: "leases are gone" in caplog.text)
            await asyncio.sleep(0.5)  # some more renewals
            assert await counted(worker) == 1
            hold.set()
            await asked
    finally:
        hold.set()


async def counted(worker: Worker) -> float:
    (number,) = (await worker.collect_metrics()).numbers(GONE)
    return number


async def seen(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():
            await asyncio.sleep(0.01)

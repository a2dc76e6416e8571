"""Redis that is dead, frozen, emptied or slow: who comes is refused at once, and who waits is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from floodgate.broker.call_metrics import Calls
from floodgate.broker.commands import Call, declare
from floodgate.broker.connection import connect, run
from floodgate.broker.envelopes import TaskOutcome, TaskReply, pack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import Unavailable
from floodgate.gateway import inbox as replies
from floodgate.gateway import reconciler
from floodgate.gateway.admission import Stage
from floodgate.gateway.inbox import Inbox
from floodgate.operations.metrics import Metrics
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued
from tests.engine.proxying import Proxy
from tests.engine.system.system import until_async

FAULT_AFTER_S = 0.3
SEEN_AFTER_S = 0.3
"""From the fault on until every refusal is prompt."""
PROMPT_S = 0.06
"""Three times what is promised: this machine may be busy."""


@queued("/quick", 1000)
async def quick(x: int = 0) -> int:
    return x


@queued("/slow", 100, timeout_s=8)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def asked(system: System, path: str) -> tuple[int, float, float]:
    """Return status, when it was asked, and how long it took."""
    began_s = time.monotonic()
    answer: httpx.Response = await system.get(path)
    return answer.status_code, began_s, time.monotonic() - began_s


async def while_asking(system: System, meanwhile: Callable[[], Awaitable[None]]) -> list[tuple[int, float, float]]:
    """Ask every 10 ms until `meanwhile` has ended."""
    asking = []
    ends = asyncio.ensure_future(meanwhile())
    while not ends.done():
        asking.append(asyncio.create_task(asked(system, "/quick")))
        await asyncio.sleep(0.01)
    await ends
    return list(await asyncio.gather(*asking))


async def answered_within(system: System, seconds: float) -> None:
    began_s = time.monotonic()
    while (await system.get("/quick")).status_code != 200:
        assert time.monotonic() - began_s < seconds
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["freeze", "kill"])
async def test_while_redis_is_away_refusals_are_prompt(own_server: EmbeddedServer, fault: str) -> None:
    async with SystemFactory(own_server.url, "away")(__name__, lease_s=1) as system:
        fault_s = 0.0

        async def meanwhile() -> None:
            nonlocal fault_s
            await asyncio.sleep(FAULT_AFTER_S)
            getattr(own_server, fault)()
            fault_s = time.monotonic()
            await asyncio.sleep(3)

        answers = await while_asking(system, meanwhile)
        late = [(status, took_s) for status, at_s, took_s in answers if at_s > fault_s + SEEN_AFTER_S]
        assert {status for status, _ in late} == {503}
        took = sorted(took_s for _, took_s in late)
        assert took[int(len(took) * 0.99)] < PROMPT_S, took[-10:]
        if fault == "freeze":
            own_server.thaw()
            await answered_within(system, 0.9)
        else:
            own_server.start()
            await until_async(lambda: all(worker.ready for worker in system.workers))
            await answered_within(system, 1)


@pytest.mark.slow
async def test_a_freeze_too_short_to_matter_refuses_nobody(own_server: EmbeddedServer) -> None:
    async with SystemFactory(own_server.url, "short")(__name__) as system:

        async def meanwhile() -> None:
            for _ in range(3):
                own_server.freeze()
                await asyncio.sleep(0.12)
                own_server.thaw()
                await asyncio.sleep(0.3)

        assert {status for status, *_ in await while_asking(system, meanwhile)} == {200}


async def test_what_was_sent_to_a_frozen_redis_is_answered_soon(own_server: EmbeddedServer) -> None:
    async with SystemFactory(own_server.url, "frozen")(__name__, lease_s=1) as system:
        await asyncio.sleep(0.6)  # every connection stands
        own_server.freeze()
        status, _, took_s = await asked(system, "/quick")
        assert status == 503
        assert took_s < 4.5
        own_server.thaw()
        await answered_within(system, 2)


async def test_what_was_queued_in_data_that_are_lost_is_answered_soon(own_server: EmbeddedServer) -> None:
    async with SystemFactory(own_server.url, "emptied")(__name__) as system, Redis.from_url(own_server.url) as client:
        await asyncio.sleep(0.6)
        waiting = asyncio.create_task(asked(system, "/slow?seconds=6"))
        await asyncio.sleep(0.2)
        await client.flushall()
        # Another process is the first to notice, so that nothing seems to be missing.
        limits = {handler.route: (handler.max_concurrency, 0) for handler in system.registry.handlers}
        await run(client, declare(Keys("emptied"), started_ms=0, limits=limits, lanes=[]))
        lost_s = time.monotonic()
        status, *_ = await waiting
        assert status == 503
        assert time.monotonic() - lost_s < 1.2


async def test_what_is_queued_is_not_given_up_because_a_connection_was_cut_while_it_was_idle(
    floodgate: SystemFactory, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Pipeline.run

    async def deaf(pipeline: Pipeline, call: Call[Any], timeout_s: float) -> Any:
        reply = await original(pipeline, call, timeout_s)
        if call.script.name == "admit":
            monkeypatch.setattr(Pipeline, "run", original)
            await pipeline.close()
            raise Unavailable("its answer is lost")
        return reply

    monkeypatch.setattr(reconciler, "PERIOD_S", 2.5)
    async with floodgate(__name__) as system, Redis.from_url(redis_url) as client:
        await asyncio.sleep(0.3)
        monkeypatch.setattr(Pipeline, "run", deaf)
        waiting = asyncio.create_task(asked(system, "/slow?seconds=4"))
        await asyncio.sleep(1)
        await client.client_kill_filter(_type="normal", skipme=True)
        status, *_ = await waiting
        assert status == 200


async def test_what_is_being_moved_to_another_lane_is_not_lost(own_server: EmbeddedServer) -> None:
    async with SystemFactory(own_server.url, "moved")(__name__) as system, Redis.from_url(own_server.url) as client:
        waiting = asyncio.create_task(asked(system, "/slow?seconds=6"))
        await asyncio.sleep(0.3)
        assert system.app.engine
        (pending,) = system.app.engine.dispatcher.waiting()
        assert pending.stage is Stage.ADMITTED
        pending.moving = True
        await client.zrem(Keys("moved").slots(pending.handler.route), pending.id)
        system.app.engine._reconciler.reconcile_all()
        await asyncio.sleep(0.3)
        assert not waiting.done()
        pending.moving = False
        system.app.engine._reconciler.reconcile_all()
        assert (await waiting)[0] == 503


async def test_more_replies_than_a_slow_connection_can_bring_at_once_are_read_in_parts(
    server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "BLOCK_MS", 300)
    monkeypatch.setattr(replies, "SLACK_S", 0.3)
    came: set[str] = set()
    key, entries, size = Keys(namespace).inbox("process"), 96, 32 * 1024

    class Waiting:
        def deliver(self, reply: TaskReply) -> bool:
            came.add(reply.task_id)
            return True

    dispatcher: Any = Waiting()

    async with Redis.from_url(server.url) as direct:
        for number in range(entries):
            await direct.xadd(key, {"r": pack_reply(TaskReply(f"r.{number}", TaskOutcome.DONE, 200, body=b"x" * size))})
        await direct.expire(key, 60)
    with Proxy(server.port) as proxy:
        proxy.bytes_per_s = entries * size  # all of them take a second
        client = connect(Settings(redis_url=proxy.url, namespace="wire"))
        inbox = Inbox(Pipeline(client.connection_pool), key, dispatcher, Calls(Metrics(), "replies"))
        reading = asyncio.create_task(inbox.run())
        await until_async(lambda: len(came) == entries, 10)
        reading.cancel()
        await client.aclose()

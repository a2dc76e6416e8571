"""A call whose answer is lost on its way, at the worst moment: what was promised to clients holds all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from floodgate.broker.commands import Call
from floodgate.broker.connection import Client, run
from floodgate.broker.pipeline import Command, Pipeline
from floodgate.errors import Unavailable
from floodgate.gateway import dispatch as dispatcher
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import SystemFactory
from shared import queued
from tests.engine.lost_admission import lose_next_admission

HEADER_PARTS = 3
"""Of a claim's reply, before its tasks."""


@queued("/later", 100, method="POST", timeout_s=8, async_timeout_s=20)
async def later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@queued("/once", 100, method="POST", timeout_s=8)
async def once(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def test_who_does_not_wait_gets_202_although_the_admission_was_not_heard_of(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with floodgate(__name__) as system:
        lose_next_admission(monkeypatch)
        began = time.monotonic()
        accepted = await system.post("/later?seconds=6", headers={"prefer": "respond-async"})
        assert accepted.status_code == 202, accepted.text
        assert time.monotonic() - began < 4
        assert (await system.delete(accepted.headers["location"])).status_code == 204


async def test_a_202_given_while_its_task_is_moved_has_the_id_under_which_it_goes_on(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = asyncio.Event()

    async def slow_run(client: Client, call: Call[Any]) -> Any:
        reply = await run(client, call)
        await asyncio.sleep(2.5)
        monkeypatch.undo()
        moved.set()
        return reply

    async with floodgate(__name__, worker_concurrency=1) as system:
        await asyncio.sleep(1)  # the grace of the start
        first = asyncio.create_task(system.post("/later?seconds=2.5"))
        await asyncio.sleep(0.2)
        asking = asyncio.create_task(system.post("/later?seconds=0", headers={"prefer": "respond-async, wait=2"}))
        await asyncio.sleep(0.1)
        assert system.app.engine
        monkeypatch.setattr(dispatcher, "run", slow_run)
        monkeypatch.setattr(system.app.engine._directory, "serves", lambda lane: False)
        accepted = await asking
        await moved.wait()
        assert accepted.status_code in (200, 202), accepted.text
        if accepted.status_code == 202:
            assert (await system.get(accepted.headers["location"])).is_success
        assert (await first).is_success


async def test_a_claimed_post_runs_although_the_bell_cannot_be_heard_out(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Pipeline.execute
    cut: list[bool] = []

    async def cutting(pipeline: Pipeline, commands: Sequence[Command], timeout_s: float) -> list[object]:
        if commands[0][0] == "LPOP":
            monkeypatch.undo()
            cut.append(True)
            await pipeline.close()
            raise Unavailable("cut")
        replies = await execute(pipeline, commands, timeout_s)
        if commands[0][0] == "BLPOP" and isinstance(replies[1], list) and len(replies[1]) > HEADER_PARTS:
            replies[0] = [str(commands[0][1]).encode(), b"another"]  # its bell rang in the same turn
        return replies

    monkeypatch.setattr(Pipeline, "execute", cutting)
    async with floodgate(__name__) as system:
        await asyncio.sleep(0.2)
        answer = await system.post("/once?seconds=0.2")
        assert cut
        assert answer.status_code == 200, answer.text


async def test_nobody_waits_for_a_silent_redis_longer_than_a_second_to_be_sent() -> None:
    with EmbeddedServer() as server:
        async with SystemFactory(server.url, "silent")(__name__) as system:

            async def asking() -> tuple[httpx.Response, float]:
                began = time.monotonic()
                return await system.post("/once?seconds=0"), time.monotonic() - began

            await asking()
            server.freeze()
            sent = asyncio.create_task(asking())
            for _ in range(2):  # while the first one's answer is awaited, and while the connection is opened again
                await asyncio.sleep(0.3)
                answer, took_s = await asking()
                assert answer.status_code == 503
                assert took_s < 1.6
                await asyncio.sleep(1.5)
            server.thaw()
            assert (await sent)[0].status_code in (502, 503)

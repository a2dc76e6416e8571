"""What a worker declares gets known although a call on the way there is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import queued
from shared.errors import Unavailable
from shared.queue.connection import run
from shared.queue.keys import Keys
from tests.kit import Kit
from worker_app import engine, lease


@queued("/registering/quick", 10)
async def quick() -> None: ...


@pytest.mark.parametrize(
    ("module", "script", "before"),
    [
        pytest.param(engine, "declare", True, id="declare-is-not-sent"),
        pytest.param(lease, "renew", False, id="the-answer-of-the-first-renewal-is-lost"),
    ],
)
async def test_a_contract_is_declared_although_a_call_is_lost(
    floodgate: Kit,
    redis_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
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

    monkeypatch.setattr(module, "run", losing)
    async with floodgate(__name__) as system, Redis.from_url(redis_url) as client, asyncio.timeout(5):
        while not await client.hexists(Keys(namespace).contracts(), system.registry.contract):
            await asyncio.sleep(0.05)
    assert lost.is_set()

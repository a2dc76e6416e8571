"""The directory of workers is refreshed whatever becomes of one round: the end of the loop would end the gateway."""

from __future__ import annotations

import asyncio

import pytest

from floodgate.declare.registry import Registry
from floodgate.errors import DecodeError, FloodgateError, StoreFull, Unavailable
from floodgate.gateway import runtime
from floodgate.gateway.runtime import GatewayRuntime
from floodgate.operations.settings import Settings


@pytest.mark.parametrize("error", [Unavailable("gone"), StoreFull("full"), DecodeError("malformed")])
async def test_a_failed_round_is_followed_by_another(error: FloodgateError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "REFRESH_S", 0.001)
    rounds, again = 0, asyncio.Event()

    async def refresh() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise error
        again.set()

    gateway = GatewayRuntime(Settings(redis_url="redis://nowhere:1", namespace="n"), Registry((), "digest"))
    monkeypatch.setattr(gateway, "_refresh", refresh)
    refreshing = asyncio.create_task(gateway._refresh_forever())
    async with asyncio.timeout(2):
        await again.wait()
    refreshing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await refreshing

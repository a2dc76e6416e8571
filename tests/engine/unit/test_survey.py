"""The survey goes on whatever becomes of one round: its end would end the gateway."""

from __future__ import annotations

import asyncio

import pytest

from floodgate.errors import DecodeError, FloodgateError, StoreFull, Unavailable
from floodgate.gateway.worker_directory import WorkerDirectory, refresh_forever


class Seen(WorkerDirectory):
    """A survey that always comes back."""

    def __init__(self) -> None:
        self.rounds = 0

    async def refresh(self) -> bool:
        self.rounds += 1
        return True


@pytest.mark.parametrize("error", [Unavailable("gone"), StoreFull("full"), DecodeError("strange")])
async def test_a_round_that_fails_is_followed_by_another(error: FloodgateError) -> None:
    lanes, again = Seen(), asyncio.Event()

    async def after(declared: bool) -> None:
        if lanes.rounds == 1:
            raise error
        again.set()

    surveying = asyncio.create_task(refresh_forever(lanes, 0.001, after))
    async with asyncio.timeout(2):
        await again.wait()
    surveying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await surveying

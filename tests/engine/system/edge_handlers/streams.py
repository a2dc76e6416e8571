"""A handler that yields for as long as it is let, and notes how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from shared import Context, queued
from tests.engine.system.edge_handlers.notes import note


@queued("/ticks", max_concurrency=50, stream_s=18)
async def ticks(tag: str, ctx: Context) -> AsyncIterator[int]:
    """Yield a number twenty times a second."""
    note("start", tag, ctx)
    try:
        for number in range(10_000):
            yield number
            await asyncio.sleep(0.05)
    finally:
        note("ended", tag, ctx)

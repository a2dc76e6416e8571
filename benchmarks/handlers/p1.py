"""Profile P1, the gate: an async handler that takes 0.2 s, always. `/tight` has a limit that short runs can reach."""

from __future__ import annotations

import asyncio

from benchmarks.notes import noted
from shared import Context, queued

SERVICE_S = 0.2


@queued("/gate", max_concurrency=1000, timeout_s=2)
async def gate(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(SERVICE_S)
    return True


@queued("/tight", max_concurrency=24, timeout_s=2)
async def tight(ctx: Context) -> bool:
    return await gate(ctx)

"""Clients that leave: the gate, and a handler so long that it still runs unless it is cancelled."""

from __future__ import annotations

import asyncio

from benchmarks.notes import noted
from shared import Context, queued

SERVICE_S = 0.2
LONG_S = 5.0


@queued("/gate", max_concurrency=1000, timeout_s=2)
async def gate(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(SERVICE_S)
    return True


@queued("/long", max_concurrency=100, timeout_s=8)
async def long(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(LONG_S)
    return True

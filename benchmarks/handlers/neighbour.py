"""Neighbours: two routes that differ in nothing, on the same workers."""

from __future__ import annotations

import asyncio

from benchmarks.handlers.service_time import varied_s
from benchmarks.notes import noted
from shared import Context, queued


@queued("/small", max_concurrency=1000, timeout_s=2)
async def small(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(varied_s(ctx.request_id))
    return True


@queued("/large", max_concurrency=1000, timeout_s=2)
async def large(ctx: Context) -> bool:
    return await small(ctx)

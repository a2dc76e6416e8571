"""Routes on the same workers whose run times are two orders of magnitude apart."""

from __future__ import annotations

from benchmarks.notes import noted_sleep
from shared import Context, queued

SHORT_S, FLOODED_S, LONG_S = 0.02, 0.07, 7.0


@queued("/short", max_concurrency=1000, timeout_s=2)
async def short(ctx: Context) -> bool:
    return await noted_sleep(ctx, SHORT_S)


@queued("/flooded", max_concurrency=1000, timeout_s=2)
async def flooded(ctx: Context) -> bool:
    """As short as a generator on one core can flood a concurrency of twenty with."""
    return await noted_sleep(ctx, FLOODED_S)


@queued("/long", max_concurrency=1000, timeout_s=30)
async def long(ctx: Context) -> bool:
    return await noted_sleep(ctx, LONG_S)

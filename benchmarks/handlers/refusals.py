"""What a refusal costs: decided in the gateway's memory, or asked of Redis every time."""

from __future__ import annotations

import asyncio

from benchmarks.notes import noted
from shared import Context, Rate, queued

SERVICE_S = 0.2


@queued("/gate", max_concurrency=1000, timeout_s=2)
async def gate(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(SERVICE_S)
    return True


@queued("/rated", max_concurrency=1000, timeout_s=2, rate=Rate(bucket=1, per_s=1))
async def rated(ctx: Context) -> bool:
    return await gate(ctx)


@queued("/asked", max_concurrency=1000, timeout_s=2, priority="critical")
async def asked(ctx: Context) -> bool:
    """Refusals of critical requests are not remembered: each one is asked of Redis."""
    return await gate(ctx)

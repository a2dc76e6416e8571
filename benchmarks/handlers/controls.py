"""One route per control of admission, made for runs of a few seconds on a worker with 16 places."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pydantic import BaseModel

from benchmarks.database import BEST, query
from benchmarks.notes import noted
from shared import Context, Rate, queued

SERVICE_S = 0.2
SHORT_S = 0.1
SHORTER_S = 0.04
BRIEF_S = 0.02


class Work(BaseModel):
    """A body, which a refusal must not need."""

    words: list[str] = []


async def _work(ctx: Context, seconds: float) -> bool:
    with noted(ctx):
        await asyncio.sleep(seconds)
    return True


@queued("/gate", max_concurrency=1000, timeout_s=2)
async def gate(ctx: Context) -> bool:
    return await _work(ctx, SERVICE_S)


@queued("/lasting", max_concurrency=1000, timeout_s=1, max_running=3)
async def lasting(ctx: Context) -> bool:
    """Its overload lasts for several time-outs within seconds."""
    return await _work(ctx, SHORTER_S)


@queued("/brief", max_concurrency=1000, timeout_s=1)
async def brief(ctx: Context) -> bool:
    """Two orders of magnitude shorter than what `/blocking` is asked for."""
    return await _work(ctx, BRIEF_S)


@queued("/tenants", max_concurrency=1000, timeout_s=2, tenant=lambda head: head.headers["x-tenant"])
async def tenants(ctx: Context) -> bool:
    return await _work(ctx, SERVICE_S)


@queued("/small", max_concurrency=1000, timeout_s=2)
async def small(ctx: Context) -> bool:
    return await _work(ctx, SERVICE_S)


@queued("/large", max_concurrency=1000, timeout_s=2)
async def large(ctx: Context) -> bool:
    return await _work(ctx, SERVICE_S)


@queued("/classes", max_concurrency=1000, timeout_s=2, priority=lambda head: head.headers["x-class"])
async def classes(ctx: Context) -> bool:
    return await _work(ctx, SERVICE_S)


@queued("/full", max_concurrency=4, timeout_s=8, max_running=2)
async def full(ctx: Context) -> bool:
    """Nobody gets in while the first four are there."""
    return await _work(ctx, 6.0)


@queued("/rated", max_concurrency=1000, method="POST", timeout_s=5, rate=Rate(bucket=3, per_s=0.001))
async def rated(work: Work, ctx: Context) -> int:
    await _work(ctx, 0.0)
    return len(work.words)


@queued("/retried", max_concurrency=1000, timeout_s=1)
async def retried(ctx: Context) -> bool:
    return await _work(ctx, SHORT_S)


@queued("/database", max_concurrency=1000, timeout_s=2, max_running=BEST)
async def database(ctx: Context) -> bool:
    with noted(ctx):
        await query(os.environ["OVERLOAD_DATABASE"])
    return True


@queued("/left", max_concurrency=100, timeout_s=8, max_running=2)
async def left(seconds: float, ctx: Context) -> bool:
    return await _work(ctx, seconds)


@queued("/expiring", max_concurrency=100, timeout_s=1, async_timeout_s=1)
async def expiring(ctx: Context) -> bool:
    return await _work(ctx, 0.0)


@queued("/blocking", max_concurrency=100, timeout_s=8)
async def blocking(seconds: float, ctx: Context) -> Any:
    return await _work(ctx, seconds)

"""One route per control of admission, made for runs of a few seconds on a worker with a concurrency of 16."""

from __future__ import annotations

from pydantic import BaseModel

from benchmarks.database import BEST, query
from benchmarks.notes import noted, noted_sleep
from shared import Context, Rate, queued


class Work(BaseModel):
    """A body, which a refusal must not need."""

    words: list[str] = []


async def gate(ctx: Context) -> bool:
    return await noted_sleep(ctx, 0.2)


async def lasting(ctx: Context) -> bool:
    """Its overload lasts for several time-outs within seconds."""
    return await noted_sleep(ctx, 0.04)


async def brief(ctx: Context) -> bool:
    """Two orders of magnitude shorter than what `/blocking` is asked for."""
    return await noted_sleep(ctx, 0.02)


async def full(ctx: Context) -> bool:
    """Nobody gets in while the first four are there."""
    return await noted_sleep(ctx, 6.0)


async def rated(work: Work, ctx: Context) -> int:
    await noted_sleep(ctx, 0.0)
    return len(work.words)


async def retried(ctx: Context) -> bool:
    return await noted_sleep(ctx, 0.1)


async def database(ctx: Context) -> bool:
    with noted(ctx):
        await query()
    return True


async def at_once(ctx: Context) -> bool:
    return await noted_sleep(ctx, 0.0)


async def for_seconds(seconds: float, ctx: Context) -> bool:
    return await noted_sleep(ctx, seconds)


queued("/gate", max_concurrency=1000, timeout_s=2)(gate)
queued("/small", max_concurrency=1000, timeout_s=2)(gate)
queued("/large", max_concurrency=1000, timeout_s=2)(gate)
queued("/tenants", max_concurrency=1000, timeout_s=2, tenant=lambda head: head.headers["x-tenant"])(gate)
queued("/classes", max_concurrency=1000, timeout_s=2, priority=lambda head: head.headers["x-class"])(gate)
queued("/lasting", max_concurrency=1000, timeout_s=1, max_running=3)(lasting)
queued("/brief", max_concurrency=1000, timeout_s=1)(brief)
queued("/full", max_concurrency=4, timeout_s=8, max_running=2)(full)
queued("/rated", max_concurrency=1000, method="POST", timeout_s=5, rate=Rate(bucket=3, per_s=0.001))(rated)
queued("/retried", max_concurrency=1000, timeout_s=1)(retried)
queued("/database", max_concurrency=1000, timeout_s=2, max_running=BEST)(database)
queued("/left", max_concurrency=100, timeout_s=8, max_running=2)(for_seconds)
queued("/expiring", max_concurrency=100, timeout_s=1, async_timeout_s=1)(at_once)
queued("/blocking", max_concurrency=100, timeout_s=8)(for_seconds)

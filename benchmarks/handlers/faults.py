"""The queued routes of `make soak` and of the tests of faults: each notes its runs, some harm their own process."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.notes import noted, noted_sleep
from shared import Context, queued

TIMEOUT_S = 4.0
LIMIT = 6
QUICK_S, ONCE_S, LIMITED_S = 0.01, 0.03, 0.15


@queued("/quick", max_concurrency=400, timeout_s=TIMEOUT_S)
async def quick(ctx: Context) -> bool:
    return await noted_sleep(ctx, QUICK_S)


@queued("/thread", max_concurrency=400, timeout_s=TIMEOUT_S)
def thread(ctx: Context) -> bool:
    with noted(ctx):
        time.sleep(QUICK_S)
    return True


@queued("/once", method="POST", max_concurrency=400, timeout_s=TIMEOUT_S)
async def once(ctx: Context) -> bool:
    return await noted_sleep(ctx, ONCE_S)


@queued("/limited", max_concurrency=LIMIT, timeout_s=TIMEOUT_S)
async def limited(ctx: Context) -> bool:
    return await noted_sleep(ctx, LIMITED_S)


@queued("/holds", max_concurrency=100, timeout_s=TIMEOUT_S)
async def holds(seconds: float, ctx: Context) -> bool:
    return await noted_sleep(ctx, seconds)


@queued("/holds", method="POST", max_concurrency=100, timeout_s=TIMEOUT_S)
async def holds_once(seconds: float, ctx: Context) -> bool:
    return await noted_sleep(ctx, seconds)


@queued("/later", max_concurrency=100, timeout_s=TIMEOUT_S, async_timeout_s=20)
async def later(seconds: float, ctx: Context) -> bool:
    return await noted_sleep(ctx, seconds)


@queued("/blocks", method="POST", max_concurrency=4, timeout_s=TIMEOUT_S)
async def blocks(seconds: float, ctx: Context) -> bool:
    """Hold the whole event loop: nothing is renewed meanwhile."""
    with noted(ctx):
        time.sleep(seconds)  # noqa: ASYNC251
    return True


@queued("/poison", max_concurrency=4, timeout_s=TIMEOUT_S)
async def poison(ctx: Context) -> bool:
    """Kill the process that runs it."""
    with noted(ctx):
        os.kill(os.getpid(), signal.SIGKILL)
    return True

"""Handlers for tests of the whole path in one process."""

from __future__ import annotations

import asyncio
import time

from shared import queued


@queued("/quick", max_concurrency=1000)
async def quick(x: int = 0) -> int:
    return x


@queued("/slow", max_concurrency=100, timeout_s=8)
async def slow(seconds: float = 0.3) -> str:
    await asyncio.sleep(seconds)
    return "done"


@queued("/thread", max_concurrency=100)
def thread(seconds: float = 0.2) -> str:
    time.sleep(seconds)
    return "done"


@queued("/once", max_concurrency=100, method="POST", timeout_s=8)
async def once(seconds: float = 0.3) -> str:
    await asyncio.sleep(seconds)
    return "done"

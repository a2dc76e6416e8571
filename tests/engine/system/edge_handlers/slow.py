"""Handlers that take their time and note when they start, end and are told to stop."""

from __future__ import annotations

import time

from shared import Context, queued
from tests.engine.system.edge_handlers.notes import note, noted_sleep


@queued("/ok", max_concurrency=10)
async def ok() -> str:
    """Answer at once."""
    return "ok"


@queued("/narrow", max_concurrency=5)
async def narrow(tag: str, seconds: float, ctx: Context) -> str:
    """Let five in."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/sleep", max_concurrency=50, timeout_s=8)
async def sleep(tag: str, seconds: float, ctx: Context) -> str:
    """Sleep on the loop."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/sleep", method="POST", max_concurrency=50, timeout_s=8)
async def sleep_once(tag: str, seconds: float, ctx: Context) -> str:
    """Sleep on the loop; never twice."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/short", max_concurrency=50, timeout_s=0.6)
async def short(tag: str, seconds: float, ctx: Context) -> str:
    """Have little time."""
    return await noted_sleep(tag, seconds, ctx)


def _look(tag: str, seconds: float, ctx: Context) -> str:
    note("start", tag, ctx)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if ctx.cancelled:
            note("stopped", tag, ctx)
            return "stopped"
        time.sleep(0.01)
    note("end", tag, ctx)
    return tag


@queued("/look", max_concurrency=50, timeout_s=8)
def look(tag: str, seconds: float, ctx: Context) -> str:
    """Sleep in a thread with an eye on the flag."""
    return _look(tag, seconds, ctx)


@queued("/look-short", max_concurrency=50, timeout_s=0.6)
def look_short(tag: str, seconds: float, ctx: Context) -> str:
    """The same with little time."""
    return _look(tag, seconds, ctx)


@queued("/dear", max_concurrency=5, level=5)
async def dear() -> str:
    """Be of level 5."""
    return "dear"

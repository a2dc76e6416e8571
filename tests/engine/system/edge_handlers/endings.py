"""Handlers that end in every way but the good one, and results that cannot be sent."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import Any, Never

from shared import queued

SECRET = "this text stays in the log"


class Ending(StrEnum):
    """How to end."""

    EXCEPTION = "exception"
    BASE_EXCEPTION = "base-exception"
    STOP_ITERATION = "stop-iteration"
    CANCELLED = "cancelled"
    EXIT = "exit"
    INTERRUPT = "interrupt"
    TIMEOUT = "timeout"
    GROUP = "group"


def end(how: Ending) -> Never:
    errors: dict[Ending, BaseException] = {
        Ending.EXCEPTION: RuntimeError(SECRET),
        Ending.BASE_EXCEPTION: BaseException(SECRET),
        Ending.STOP_ITERATION: StopIteration(SECRET),
        Ending.CANCELLED: asyncio.CancelledError(SECRET),
        Ending.INTERRUPT: KeyboardInterrupt(SECRET),
        Ending.TIMEOUT: TimeoutError(SECRET),
        Ending.GROUP: BaseExceptionGroup(SECRET, [SystemExit(1), ValueError(SECRET)]),
    }
    if how is Ending.EXIT:
        sys.exit(SECRET)
    raise errors[how]


@queued("/ends/async/{how}", max_concurrency=4)
async def ends_async(how: Ending) -> str:
    """End on the loop."""
    end(how)


@queued("/ends/sync/{how}", max_concurrency=4)
def ends_sync(how: Ending) -> str:
    """End in a thread."""
    end(how)


@queued("/results/unserialisable", max_concurrency=4)
async def unserialisable() -> Any:
    """Return what no JSON can hold."""
    return object()


@queued("/results/wrong", max_concurrency=4)
async def wrong() -> int:
    """Return what the annotation forbids."""
    return "not a number"  # type: ignore[return-value]


@queued("/results/not-a-number", max_concurrency=4)
async def not_a_number():  # type: ignore[no-untyped-def]
    """Return a float that JSON does not know."""
    return {"value": float("nan")}


@queued("/results/octets", max_concurrency=40, timeout_s=15, media_type="application/octet-stream")
async def octets(size: int) -> bytes:
    """Return bytes."""
    return b"x" * size


@queued("/results/large", max_concurrency=4)
async def large(size: int) -> str:
    """Return that many characters."""
    return "x" * size

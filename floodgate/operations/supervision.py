"""Ends the process when its engine fails, so that its server starts another; and ends an engine's loops.

A process whose engine has ended but which still answers `/-/live` would look healthy.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

log = logging.getLogger("floodgate")

AGAIN_S = 0.2
"""After which a task that was cancelled, and goes on, is cancelled once more."""


def start(engine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start the engine as a task; await it at shutdown."""
    task = asyncio.create_task(engine, name="engine")
    task.add_done_callback(_ended)
    return task


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again and again until they have ended; what they raise stays theirs.

    Once is not enough: `asyncio.wait_for` of Python 3.11 drops a cancellation that comes as its awaitable is done, and
    redis-py writes through it to servers with a time-out, which Sentinels have.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the engine has failed: this process ends with SIGTERM", exc_info=error)
        signal.raise_signal(signal.SIGTERM)

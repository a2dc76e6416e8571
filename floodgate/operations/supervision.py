"""Ties a process to its engine: when the engine fails, the process ends and its server starts another.

A process whose loops have died but which still answers `live` would look healthy.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("floodgate")


def start(engine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run the engine as the process's one task; await it at the end."""
    task = asyncio.create_task(engine, name="engine")
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the engine failed: this process ends", exc_info=error)
        signal.raise_signal(signal.SIGTERM)

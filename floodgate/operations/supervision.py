"""Ends the process when its engine fails, so that its server starts another.

A process whose engine has ended but which still answers `/-/live` would look healthy.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("floodgate")


def start(engine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start the engine as a task; await it at shutdown."""
    task = asyncio.create_task(engine, name="engine")
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the engine has failed: this process ends with SIGTERM", exc_info=error)
        signal.raise_signal(signal.SIGTERM)

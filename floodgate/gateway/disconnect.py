"""What ends the wait of one request: its deadline, or a client that leaves.

Most answers come before either matters, so a request starts with one timer and
nothing else; only a slow one gets a task that listens for its client. Must not
know the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from floodgate.gateway.outcomes import Failure, Outcome, PendingRequest

Receive = Callable[[], Awaitable[Any]]

LISTEN_AFTER_S = 0.05
"""Most answers come sooner."""


class DisconnectWatcher:
    """Settles one entry as late or left; `receive` is the ASGI one, its body read already."""

    __slots__ = ("_entry", "_listening", "_loop", "_receive", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, entry: PendingRequest, receive: Receive) -> None:
        self._loop = loop
        self._entry = entry
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        options = entry.payload.options
        if options.async_response and options.patience_s == 0:
            entry.accept()
        first_s = min(LISTEN_AFTER_S, options.patience_s if options.async_response else options.budget_ms / 1000)
        self._timer = loop.call_later(first_s, self._listen)

    def end(self) -> None:
        """Stop watching; whatever happens to the client now is nobody's business."""
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None  # its traceback holds us, and with us the answer, until the garbage is collected

    def _listen(self) -> None:
        options = self._entry.payload.options
        ends_s = self._entry.arrived_s + options.patience_s if options.async_response else self._entry.deadline_s
        self._timer = self._loop.call_later(max(0.0, ends_s - time.monotonic()), self._late)
        self._listening = self._loop.create_task(self._until_left())

    def _late(self) -> None:
        if self._entry.payload.options.async_response:
            self._entry.accept()
        else:
            self._entry.settle(Outcome(failure=Failure.LATE))

    async def _until_left(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # a body that nobody reads is too large: its client is there, and can be heard no more
            return
        self._entry.settle(Outcome(failure=Failure.LEFT))

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

from gateway_app.answers import Answer, Entry, Trouble

Receive = Callable[[], Awaitable[Any]]

LISTEN_AFTER_S = 0.05
"""Most answers come sooner."""


class Watch:
    """Settles one entry as late or left; `receive` is the ASGI one, its body read already."""

    __slots__ = ("_entry", "_listening", "_loop", "_receive", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, entry: Entry, receive: Receive) -> None:
        self._loop = loop
        self._entry = entry
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        self._timer = loop.call_later(min(LISTEN_AFTER_S, entry.budget_ms / 1000), self._listen)

    def end(self) -> None:
        """Stop watching; whatever happens to the client now is nobody's business."""
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        left_s = max(0.0, self._entry.deadline_s - time.monotonic())
        self._timer = self._loop.call_later(left_s, self._late)
        self._listening = self._loop.create_task(self._until_left())

    def _late(self) -> None:
        self._entry.settle(Answer(trouble=Trouble.LATE))

    async def _until_left(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # a body that nobody reads is too large: its client is there, and can be heard no more
            return
        self._entry.settle(Answer(trouble=Trouble.LEFT))

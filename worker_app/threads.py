"""Threads for sync handlers, whose end never waits for a handler that hangs.

The standard pool joins its threads when the interpreter exits, so one stuck
handler would hold a leaving worker until it is killed; these are daemons.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

Call = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class Threads:
    """`count` threads that run one call each at a time; started with the first call."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._started = False

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `call` in a thread; the future never raises what cannot be set on one."""
        if not self._started:
            self._started = True
            for number in range(self._count):
                threading.Thread(target=self._work, name=f"handler-{number}", daemon=True).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.put((call, future, loop))
        return future

    def close(self) -> None:
        """Let idle threads end; busy ones end after their call, or with the process."""
        if self._started:
            for _ in range(self._count):
                self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future, loop = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as raised:  # SystemExit too: it must not end the thread
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if not future.done():
        future.set_result((result, error))

"""Runs sync handlers in daemon threads, so that a process can end while one hangs.

`concurrent.futures` joins its threads when the interpreter exits: one stuck handler
would hold a leaving worker until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.worker")

Call = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class ThreadPool:
    """Runs calls in up to `count` threads; one is started with each call until all are there."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._started = 0
        self._failed = False
        """The system could start no thread, and that was logged."""

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `call` in a thread; the future's result is the pair of its result and its error.

        A future refuses some errors, such as `StopIteration`, which a handler may raise.
        Raises `RuntimeError` where there is no thread and none can be started.
        """
        if self._started < self._count:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.put((call, future, loop))
        return future

    def close(self) -> None:
        """Let idle threads end; busy ones end after their call, or with the process."""
        for _ in range(self._started):
            self._calls.put(None)  # behind what is queued, which still runs

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name=f"handler-{self._started}", daemon=True).start()
        except RuntimeError as error:  # a limit of processes or memory; the next call tries again
            if not self._failed:
                log.error("no thread for a sync handler", extra=fields(reason=str(error), threads=self._started))
            self._failed = True
            if not self._started:
                raise
        else:
            self._started += 1
            self._failed = False

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future, loop = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as raised:  # SystemExit too: it must not end the thread
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if not future.done():
        future.set_result((result, error))

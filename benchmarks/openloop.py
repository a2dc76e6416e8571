"""An open-loop load generator: a request leaves when it is due, whatever became of those before.

Owns the pool of connections and the schedule. Latency counts from the intended
time, so that a server that stalls cannot slow down its own measurement. Knows
HTTP, and no system behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from benchmarks.arrivals import NAN, Request
from benchmarks.keepalive import Connection, Response, field

PREDICTED = b"x-predicted-wait-ms"
"""Answer header with the wait that admission foresaw; without it there is nothing to compare."""
SPARE_AGE_S = 30.0
"""An idle connection older than this is closed: a server that closes it first would spoil a request."""
YIELD_EVERY = 16
"""When behind, so many requests go out before answers are read again."""


class Generator:
    """Sends requests to one address; made by `generator`, which owns its tasks."""

    def __init__(self, host: str, port: int, patience_s: float, group: asyncio.TaskGroup) -> None:
        self._address = (host, port)
        self._patience_s = patience_s
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[float, Connection]] = []
        self._under_way: dict[Connection, Request] = {}
        self._open = 0
        self._settled = asyncio.Event()
        self.strays: list[str] = []
        """What came on connections where nothing was asked: each a breach of one answer per request."""

    async def run(
        self,
        requests: Sequence[Request],
        start_s: float,
        client: Callable[[Request], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Send every request when it is due, and return when the last one has its answer.

        `client` makes a task of every request, e.g. to ask again after a refusal; without it, it is just sent.
        """
        for index, request in enumerate(requests):
            due_s = start_s + request.at_s
            await _until(due_s)
            if index % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            request.intended_s = due_s
            if client is None:
                self.fire(request)
            else:
                self._open += 1
                self._group.create_task(client(request)).add_done_callback(lambda _: self._count_down())
        await self.settled()

    async def ask(self, request: Request) -> Request:
        """Send one request, now if it has no intended time, and return it when it has ended."""
        request.waiter = self._loop.create_future()
        if math.isnan(request.intended_s):
            request.intended_s = time.monotonic()
        self.fire(request)
        await request.waiter
        return request

    def fire(self, request: Request) -> None:
        """Send one request now; it ends by an answer, its client's leaving, or the end of its patience."""
        now_s = time.monotonic()
        request.lag_s = now_s - request.intended_s
        self._open += 1
        self._settled.clear()
        while self._idle:
            idle_since_s, connection = self._idle.pop()
            if now_s - idle_since_s < SPARE_AGE_S:
                self._send(connection, request)
                return
            connection.close()
        self._group.create_task(self._connect(request))

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._open:
            self._settled.clear()
            await self._settled.wait()

    def close(self) -> None:
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    def answered(self, connection: Connection, response: Response) -> None:
        request = self._under_way.pop(connection)
        request.status = response.status
        if response.status != 200:
            request.reason = _title(response.body)
            told = field(response.head, b"retry-after")
            request.retry_after_s = float(told) if told and told.isdigit() else NAN
        if (predicted := field(response.head, PREDICTED)) is not None:
            request.predicted_ms = float(predicted)
        self._end(request)
        if response.reusable:
            self._idle.append((request.done_s, connection))

    def lost(self, connection: Connection, reason: str) -> None:
        request = self._under_way.pop(connection, None)
        if request is not None:
            request.reason = reason
            self._end(request)
            return
        self._idle = [(since_s, idle) for since_s, idle in self._idle if idle is not connection]
        if reason.startswith("an answer"):
            self.strays.append(reason)

    async def _connect(self, request: Request) -> None:
        try:
            async with asyncio.timeout(self._left_s(request)):
                _, connection = await self._loop.create_connection(lambda: Connection(self), *self._address)
        except OSError as error:  # TimeoutError is one
            request.left = request.leave_after_s is not None and self._left_s(request) == 0
            request.reason = "left" if request.left else f"no connection: {error}"
            self._end(request)
        else:
            self._send(connection, request)

    def _send(self, connection: Connection, request: Request) -> None:
        if connection.closed:
            request.reason = "reset at once"
            self._end(request)
            return
        self._under_way[connection] = request
        request.sent_s = time.monotonic()
        request.timer = self._loop.call_later(self._left_s(request), self._give_up, connection)
        line = f"GET {request.path} HTTP/1.1\r\nHost: {self._address[0]}\r\nX-Request-ID: {request.id}\r\n"
        connection.ask(f"{line}{request.headers}\r\n".encode())

    def _left_s(self, request: Request) -> float:
        stays_s = self._patience_s if request.leave_after_s is None else request.leave_after_s
        return max(0.0, request.intended_s + stays_s - time.monotonic())

    def _give_up(self, connection: Connection) -> None:
        request = self._under_way.pop(connection)
        connection.close()
        request.left = request.leave_after_s is not None
        request.reason = "left" if request.left else "unanswered"
        self._end(request)

    def _end(self, request: Request) -> None:
        request.done_s = time.monotonic()
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
        if request.waiter is not None and not request.waiter.done():
            request.waiter.set_result(None)
        self._count_down()

    def _count_down(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._settled.set()


@contextlib.asynccontextmanager
async def generator(host: str, port: int, patience_s: float) -> AsyncIterator[Generator]:
    """Open a generator; a client that is not answered within `patience_s` of its intended time gives up."""
    async with asyncio.TaskGroup() as group:
        opened = Generator(host, port, patience_s, group)
        try:
            yield opened
        finally:
            opened.close()


async def _until(at_s: float) -> None:
    # More than once: the loop's timers are in whole milliseconds, and may be early by half of one.
    early_s = at_s - time.monotonic()
    for _ in range(1000):
        if early_s <= 0:
            return
        await asyncio.sleep(early_s)
        early_s = at_s - time.monotonic()


def _title(body: bytes) -> str:
    start = body.find(b'"title":"') + 9
    return body[start : body.find(b'"', start)].decode(errors="replace") if start >= 9 else ""

"""The open-loop client: a request leaves when it is due, whatever became of those before.

Owns the bytes on the wire, the pool of connections and the schedule. Latency counts from the intended time, so
that a server that stalls cannot slow down its own measurement. Reads what a server of JSON sends, an answer with
its length in front; must not know what is behind the port, or what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, cast

from benchmarks.arrivals import NAN, Request

PREDICTED = b"x-predicted-wait-ms"
"""Answer header with the wait that admission foresaw; without it there is nothing to compare."""
SPARE_AGE_S = 30.0
"""An idle connection older than this is closed: a server that closes it first would spoil a request."""
YIELD_EVERY = 16
"""When behind, so many requests go out before answers are read again."""

_HEAD_END = b"\r\n\r\n"


class Response(NamedTuple):
    """An answer; names of headers in `head` are in small letters."""

    status: int
    head: bytes
    body: bytes
    reusable: bool


class Owner(Protocol):
    """Who is told what became of a connection; nothing is told of one that was closed from here."""

    def answered(self, connection: Connection, response: Response) -> None: ...

    def lost(self, connection: Connection, reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """At most one request is under way at a time."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.waiting = False
        self.answers = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def untouched(self) -> bool:
        """Tells whether it has brought answers before, and nothing of the one that is under way."""
        return self.answers > 0 and not self._buffer

    def ask(self, wire: bytes) -> None:
        """Sends a request; `answered` or `lost` follows."""
        assert self._transport is not None
        self.waiting = True
        self._buffer = b""
        self._transport.write(wire)

    def close(self) -> None:
        """Leaves, whatever is under way; the owner hears nothing more."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._owner.lost(self, f"reset: {exc}" if exc else "closed by the server")

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        if not self.waiting:
            self._fail("an answer that nobody asked for")
            return
        self._buffer += data
        try:
            response = _parse(self._buffer)
        except ValueError as error:
            self._fail(f"unreadable: {error}")
            return
        if response is not None:
            self.waiting = False
            self.answers += 1
            if not response.reusable:
                self.close()
            self._owner.answered(self, response)

    def _fail(self, reason: str) -> None:
        self.close()
        self._owner.lost(self, reason)


def field(head: bytes, name: bytes) -> bytes | None:
    """Returns the value of a header, None when it is not there; `name` is in small letters."""
    start = head.find(b"\r\n%b:" % name)
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _parse(data: bytes) -> Response | None:
    """Returns the answer once it is whole; raises `ValueError` for what is none, or more than one."""
    cut = data.find(_HEAD_END)
    if cut < 0:
        return None
    head = data[:cut].lower()
    length = field(head, b"content-length")
    if length is None:
        raise ValueError("an answer without its length")
    end = cut + len(_HEAD_END) + int(length)
    if len(data) < end:
        return None
    if len(data) > end:
        raise ValueError("more than one answer")
    return Response(int(head[9:12]), head, data[cut + 4 :], field(head, b"connection") != b"close")


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
        """Sends every request when it is due, and returns when the last one has its answer.

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
        """Sends one request, now if it has no intended time, and returns it when it has ended."""
        request.waiter = self._loop.create_future()
        if math.isnan(request.intended_s):
            request.intended_s = time.monotonic()
        self.fire(request)
        await request.waiter
        return request

    def fire(self, request: Request) -> None:
        """Sends one request now; it ends by an answer, its client's leaving, or the end of its patience."""
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
        """Waits until nothing is under way."""
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
            request.location = (field(response.head, b"location") or b"").decode()
            retry_after = field(response.head, b"retry-after")
            request.retry_after_s = float(retry_after) if retry_after and retry_after.isdigit() else NAN
        if (predicted := field(response.head, PREDICTED)) is not None:
            request.predicted_ms = float(predicted)
        self._end(request)
        if response.reusable:
            self._idle.append((request.done_s, connection))

    def lost(self, connection: Connection, reason: str) -> None:
        request = self._under_way.pop(connection, None)
        if request is not None:
            request.reason = reason
            request.untouched = connection.untouched
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
            request.untouched = not request.left
            self._end(request)
        else:
            self._send(connection, request)

    def _send(self, connection: Connection, request: Request) -> None:
        if connection.closed:
            request.reason = "reset at once"
            request.untouched = True
            self._end(request)
            return
        self._under_way[connection] = request
        request.sent_s = time.monotonic()
        request.timer = self._loop.call_later(self._left_s(request), self._give_up, connection)
        length = "" if request.method == "GET" else "Content-Length: 0\r\n"
        line = f"{request.method} {request.path} HTTP/1.1\r\nHost: {self._address[0]}\r\n{length}"
        connection.ask(f"{line}X-Request-ID: {request.id}\r\n{request.headers}\r\n".encode())

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
    """Opens a generator; a client that is not answered within `patience_s` of its intended time gives up."""
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

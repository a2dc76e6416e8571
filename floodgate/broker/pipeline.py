"""Sends the commands of a hot loop on one connection of its own, packed into one write, and reads the replies in order.

redis-py opens it, and so cares for TLS, authentication and Sentinel; what comes after
the handshake is read by a protocol of our own. The only module that reads raw replies.
It has one user at a time. Whoever times out or is cancelled leaves replies under way,
which the next one would take for its own, so the connection is closed then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeVar

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from floodgate.broker.commands import Argument, Call
from floodgate.broker.connection import CALL_S, is_not_here, note_wrong_type, redis_errors
from floodgate.errors import Unavailable

T = TypeVar("T")
Command = tuple[Argument, ...]


class Owner(Protocol):
    """What prepares a connection before it is used."""

    async def on_open(self, pipeline: Pipeline) -> None:
        """Send what has to come first, after every (re)connect."""


class Pipeline:
    """A connection that opens itself when it is needed and closes itself on any doubt."""

    def __init__(self, pool: ConnectionPool, owner: Owner | None = None) -> None:
        self._pool = pool
        self._owner = owner
        self._connection: AbstractConnection | None = None
        self._replies: ReplyProtocol | None = None
        self._opening = False

    @property
    def is_open(self) -> bool:
        return self._replies is not None and not self._replies.cut

    async def open(self) -> None:
        """Connect if it is not, or if the other side has closed or reset it since; raises `Unavailable`."""
        if self.is_open:
            return
        await self.close()
        with redis_errors():
            async with asyncio.timeout(CALL_S):
                self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call, unused-ignore]
            self._replies = ReplyProtocol(self._connection)
        if self._owner is not None:
            self._opening = True
            try:
                await self._owner.on_open(self)
            except BaseException:
                await self.close()
                raise
            finally:
                self._opening = False

    async def close(self) -> None:
        """Drop the connection; what was under way is unknown from now on."""
        connection, self._connection, self._replies = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def execute(self, commands: Sequence[Command], timeout_s: float) -> list[object]:
        """Write all commands at once, return a reply or an error *value* for each.

        A connection that was cut while it was idle is opened anew before. A
        server that is not the primary (any more) is left, its errors are returned. Raises
        `Unavailable` when the connection broke or the time ran out.
        """
        if not self._opening:
            await self.open()
        stream = self._replies
        if stream is None:  # only while it opens: the one who opens it tries again
            raise Unavailable("Redis does not answer (the connection broke while it was opened)")
        try:
            with redis_errors():
                replies = await stream.execute(_packed(commands), len(commands), timeout_s)
        except BaseException:
            await self.close()
            raise
        for reply in replies:
            if isinstance(reply, Exception):
                note_wrong_type(self._pool, reply)
                if is_not_here(reply):
                    await self.close()  # and the next one asks the name anew
        return replies

    async def run(self, call: Call[T], timeout_s: float) -> T:
        """Make one script call; raises `Unavailable`, `StoreFull`, `DecodeError`."""
        (reply,) = await self.execute([call.evalsha], timeout_s)
        return await self.result(call, reply, timeout_s)

    async def result(self, call: Call[T], reply: object, timeout_s: float) -> T:
        """Read the reply of a call sent with `execute`; a script that Redis forgot is loaded and called again."""
        if isinstance(reply, NoScriptError):
            _, reply = await self.execute([("SCRIPT", "LOAD", call.script.text), call.evalsha], timeout_s)
        if isinstance(reply, Exception):
            if not isinstance(reply, OutOfMemoryError):
                await self.close()
            with redis_errors():
                raise reply
        return call.read(reply)


class ReplyProtocol(asyncio.Protocol):
    """Takes over the transport of an open connection and collects the replies of one `execute` at a time.

    A connection that the other side closed or reset is known at once, without a
    read. redis-py has no public way to its transport; `test_wire.py` fails where an upgrade moves it.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[union-attr, assignment]
        self._opener = self._transport.get_protocol()
        self._reader = hiredis.Reader(replyError=_error_of)
        self._found: list[object] = []
        self._wanted = 0
        self._answer: asyncio.Future[list[object]] | None = None
        self.cut = self._transport.is_closing()
        """Closed or out of step: what is sent now would be lost."""
        self._transport.set_protocol(self)
        self._transport.resume_reading()  # redis-py's reader may have paused it

    async def execute(self, data: bytes, count: int, timeout_s: float) -> list[object]:
        """Write, and return `count` replies; raises `OSError`, `TimeoutError`."""
        if self.cut:
            raise ConnectionResetError("the connection was closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[object]] = loop.create_future()
        self._answer = answer
        self._wanted = count
        timer = loop.call_later(timeout_s, self._fail, TimeoutError())
        try:
            self._transport.write(data)
            return await answer
        except asyncio.CancelledError:
            self.cut = True
            raise
        finally:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        found = self._found
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                found.append(reply)
        except hiredis.ProtocolError:
            self._fail(ConnectionError("not the protocol of Redis"))
            return
        if self._answer is None or len(found) > self._wanted:
            self._fail(ConnectionError("a reply that nobody asked for"))
        elif len(found) == self._wanted:
            self._found = []
            self._settle(found)

    def eof_received(self) -> None:
        self._fail(ConnectionResetError("closed by the other side"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionResetError("closed"))  # whatever the system says: ETIMEDOUT is no answer that is late
        self._opener.connection_lost(exc)  # whoever closes through redis-py waits for this

    def _fail(self, error: Exception) -> None:
        self.cut = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._answer = None

    def _settle(self, found: list[object]) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(found)


def _error_of(text: str) -> Exception:
    """Return the error with the class that redis-py gives it, as far as it matters here, and its whole text."""
    return _KINDS.get(text.partition(" ")[0], ResponseError)(text)


_KINDS = {"NOSCRIPT": NoScriptError, "OOM": OutOfMemoryError}


def _packed(commands: Sequence[Command]) -> bytes:
    """Render commands as the server reads them, in C: redis-py's own way takes seven times as long."""
    # hiredis declares a tuple of one element, and means one of any length.
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]

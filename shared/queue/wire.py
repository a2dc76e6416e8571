"""One lean connection of a hot loop: written packed, read in order.

Opened by redis-py, so TLS, authentication and Sentinel are its business. The
only module that reads raw replies. One owner at a time; a read that timed out
or was cancelled leaves the stream out of step, so it closes the connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from shared.errors import Unavailable
from shared.queue.connection import CALL_S, is_closed, is_not_here, translated
from shared.queue.scripts.calls import Argument, Call

T = TypeVar("T")
Command = tuple[Argument, ...]


class Wire:
    """A connection that opens itself when it is needed and closes itself on any doubt.

    `on_open` runs after every (re)connect, before anything else is sent.
    """

    def __init__(self, pool: ConnectionPool, on_open: Callable[[Wire], Awaitable[None]] | None = None) -> None:
        self._pool = pool
        self._on_open = on_open
        self._connection: AbstractConnection | None = None
        self._opening = False

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not is_closed(self._connection)

    async def open(self) -> None:
        """Connect if it is not, or if the other side has closed or reset it since; raises `Unavailable`."""
        if self._connection is not None and not await _is_cut(self._connection):
            return
        await self.close()
        with translated():
            async with asyncio.timeout(CALL_S):
                self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call, unused-ignore]
        if self._on_open is not None:
            self._opening = True
            try:
                await self._on_open(self)
            except BaseException:
                await self.close()
                raise
            finally:
                self._opening = False

    async def close(self) -> None:
        """Drop the connection; what was under way is unknown from now on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[object]:
        """Write all commands at once, return a reply or an error *value* for each.

        A connection that was cut while it was idle is opened anew before. A
        server that is not the primary (any more) is left, its errors are returned. Raises
        `Unavailable` when the connection broke or the time ran out.
        """
        if not self._opening:
            await self.open()
        connection = self._connection
        if connection is None:  # only while it opens: the one who opens it tries again
            raise Unavailable("Redis does not answer (the connection broke while it was opened)")
        try:
            with translated():
                async with asyncio.timeout(timeout_s):
                    await connection.send_packed_command([_packed(commands)], check_health=False)
                    replies = [await _read(connection) for _ in commands]
        except BaseException:
            await self.close()
            raise
        if any(isinstance(reply, Exception) and is_not_here(reply) for reply in replies):
            await self.close()  # and the next one asks the name anew
        return replies

    async def run(self, call: Call[T], timeout_s: float) -> T:
        """Make one script call; raises `Unavailable`, `Full`, `Garbled`."""
        (reply,) = await self.exchange([call.evalsha], timeout_s)
        return await self.result(call, reply, timeout_s)

    async def result(self, call: Call[T], reply: object, timeout_s: float) -> T:
        """Read the reply of a call sent with `exchange`; a script that Redis forgot is loaded and called again."""
        if isinstance(reply, NoScriptError):
            _, reply = await self.exchange([("SCRIPT", "LOAD", call.script.text), call.evalsha], timeout_s)
        if isinstance(reply, Exception):
            if not isinstance(reply, OutOfMemoryError):
                await self.close()
            with translated():
                raise reply
        return call.read(reply)


async def _is_cut(connection: AbstractConnection) -> bool:
    """Tell whether an idle connection is gone or out of step: what is sent now would be lost, and nobody knew."""
    try:
        return is_closed(connection) or await connection.can_read()
    except (RedisError, OSError):
        return True


def _packed(commands: Sequence[Command]) -> bytes:
    """Render commands as the server reads them, in C: redis-py's own way takes seven times as long."""
    # hiredis declares a tuple of one element, and means one of any length.
    return b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]


async def _read(connection: AbstractConnection) -> object:
    try:
        reply: object = await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error
    return reply

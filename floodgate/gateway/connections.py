"""The connection under a request, and the large answers that its client has not taken yet.

A server takes an answer whole and keeps what its client does not read. A large one is
given to it in pieces, each when the one before is gone, so that the rest can be
counted, and dropped with its connection. Must not know what an answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: the connection ends with a reset, and what is unsent is dropped."""
PIECE_BYTES = 128 * 1024
"""What is not larger is sent at once, and not counted."""
STILL_S = 30.0
"""A client that takes nothing for so long has its connection cut."""
_KEY = "floodgate_connection"
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 1 << 20


class StreamBroken(Exception):
    """Ends a streamed answer that is not whole: its connection has to end, too."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("a streamed answer is not whole")
        self.reset = reset
        """At once, without what is written and not read yet."""


class Connection:
    """Tells whether a request's connection is closed, and ends it.

    ASGI does not show it. Uvicorn's `send` is a method of its cycle of one request and
    answer, whose `transport` and `disconnected` are read and set here; under any other
    server there is nothing to see, and nothing is done.
    """

    __slots__ = ("_cycle",)

    def __init__(self, send: Any) -> None:
        self._cycle: Any = getattr(send, "__self__", None)

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing can be sent any more."""
        transport = getattr(self._cycle, "transport", None)
        return transport is not None and bool(transport.is_closing())

    def give_up(self) -> None:
        """Let the server know that the answer ends here, which it would take for a fault of the application.

        Of several requests that a client has sent at once, uvicorn tells only the last one that its client left.
        """
        if hasattr(self._cycle, "disconnected"):
            self._cycle.disconnected = True

    def cut(self) -> None:
        """End the connection at once: closing it would wait until the client has read what is written."""
        self.give_up()
        if (transport := getattr(self._cycle, "transport", None)) is not None:
            transport.abort()

    def sever(self, reset: bool) -> bool:
        """End the connection so that no client takes the answer for whole; False where it cannot be seen.

        Where the end of the connection is the end of an answer, as in HTTP/1.0, only a reset says so.
        """
        transport = getattr(self._cycle, "transport", None)
        if transport is None:
            return False
        self.give_up()
        if reset:
            with contextlib.suppress(OSError, AttributeError):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()  # after what is written; a client that does not read that either
            asyncio.get_running_loop().call_later(STILL_S, transport.abort)
        return True


def note(scope: Message, send: Any) -> None:
    """Remember the connection; called with the server's own `send`."""
    scope[_KEY] = Connection(send)


def connection_of(scope: Message, send: Any) -> Connection:
    """Take out what was noted, or else what `send` shows; left in, scope and connection would hold each other."""
    return scope.pop(_KEY, None) or Connection(send)


def return_large_blocks() -> None:
    """Let large blocks that are freed go back to the system at once.

    The allocator of glibc raises its own threshold to the largest block that it saw
    freed, and keeps holes of that size from then on: 24 unread answers left 100 MB behind.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


@dataclass(slots=True, eq=False)
class _Writer:
    """One answer: it is in memory as a whole until its last piece is gone."""

    size: int
    moved_s: float
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(STILL_S))


class LargeAnswers:
    """The large answers of one process; over `most_bytes`, those that stood still longest are cut."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._writers: set[_Writer] = set()

    async def send(self, message: Message, send: Send, connection: Connection, request_id: str) -> bool:
        """Send a message with a large body; False when its connection was cut."""
        body, more = message["body"], message.get("more_body", False)
        writer = _Writer(len(body), asyncio.get_running_loop().time())
        try:
            async with writer.limit:
                self._add(writer)
                for at in range(0, len(body), PIECE_BYTES):
                    await send({**message, "body": body[at : at + PIECE_BYTES], "more_body": True})
                    self._moved(writer)
                await send({**message, "body": b"", "more_body": more})  # waits until little of the last piece is left
        except TimeoutError:
            if not writer.limit.expired():
                raise
            connection.cut()
            # The cancellation's traceback holds this frame, and so the answer, until the garbage is collected.
            message["body"] = body = b""
            log.warning("an answer that nobody reads: its connection is cut", extra=fields(request_id=request_id))
            return False
        finally:
            self._writers.discard(writer)
        return True

    def _add(self, writer: _Writer) -> None:
        self._writers.add(writer)
        if (held := sum(other.size for other in self._writers)) <= self._most_bytes:
            return
        for still in sorted(self._writers - {writer}, key=lambda other: other.moved_s):
            if held <= self._most_bytes:
                break
            held -= still.size
            self._writers.discard(still)
            if not still.limit.expired():  # else its own time is up, and it has not heard of it yet
                still.limit.reschedule(0)

    @staticmethod
    def _moved(writer: _Writer) -> None:
        writer.moved_s = asyncio.get_running_loop().time()
        when_s = writer.limit.when()
        if when_s is not None and when_s > writer.moved_s:  # else it is being cut
            writer.limit.reschedule(writer.moved_s + STILL_S)

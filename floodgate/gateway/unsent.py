"""Answers that their clients have not taken yet: sent in pieces, counted, and bounded per process.

A server takes an answer whole and keeps what its client does not read. Here it gets a
piece only when the one before is gone, so the rest can be counted, and dropped with its
connection. Must not know what an answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from floodgate.gateway.connections import Connection
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

PIECE_BYTES = 128 * 1024
"""What is not larger is sent at once, and not counted."""
STILL_S = 30.0
"""A client that takes nothing for so long has its connection cut."""


_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 1 << 20


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


class Unsent:
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
            message["body"] = body = (
                b""  # the cancellation's traceback holds this frame, until the garbage is collected
            )
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

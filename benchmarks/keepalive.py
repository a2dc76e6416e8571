"""One HTTP/1.1 connection that is kept open: a request goes out, its answer comes back, the next may go.

Owns the bytes on the wire. Reads what a server of JSON sends, an answer with its
length in front; must not know what is measured, or why.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol, cast

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
        self._waiting = False
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def ask(self, wire: bytes) -> None:
        """Send a request; `answered` or `lost` follows."""
        assert self._transport is not None
        self._waiting = True
        self._buffer = b""
        self._transport.write(wire)

    def close(self) -> None:
        """Leave, whatever is under way; the owner hears nothing more."""
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
        if not self._waiting:
            self._fail("an answer that nobody asked for")
            return
        self._buffer += data
        try:
            response = _parse(self._buffer)
        except ValueError as error:
            self._fail(f"unreadable: {error}")
            return
        if response is not None:
            self._waiting = False
            if not response.reusable:
                self.close()
            self._owner.answered(self, response)

    def _fail(self, reason: str) -> None:
        self.close()
        self._owner.lost(self, reason)


def field(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, None when it is not there; `name` is in small letters."""
    start = head.find(b"\r\n%b:" % name)
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _parse(data: bytes) -> Response | None:
    """Return the answer once it is whole; raise `ValueError` for what is none, or more than one."""
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

"""`/-/metrics`: the figures of all processes behind this address, for who scrapes. A bare ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from floodgate.operations.metrics.exposition import CONTENT_TYPE, pieces
from floodgate.operations.metrics.snapshot import Snapshot

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class MetricsPage:
    """Answers GET and HEAD. `collect` returns what is to be shown."""

    def __init__(self, collect: Callable[[], Awaitable[Snapshot]]) -> None:
        self._collect = collect

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _send(send, 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")], b"")
            return
        snapshot = await self._collect()
        headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store")]
        if scope["method"] == "HEAD":
            await _send(send, 200, headers, b"")
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces(snapshot):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # a large registry takes milliseconds, and requests wait
        await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

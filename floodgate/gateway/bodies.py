"""What a request's body may be: so many bytes, and whole in time. Must not know routes.

Both limits raise `HTTPException`, since FastAPI turns anything else that reading raises into 400.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from fastapi import HTTPException
from starlette.types import Message, Receive

from floodgate.gateway.identity import within


def limited(receive: Receive, headers: list[tuple[bytes, bytes]], most_bytes: int) -> Receive:
    """Return a `receive` that raises 413 once a body is too large; what is declared too large is not read at all."""
    declared = next((value for name, value in headers if name == b"content-length"), b"0")
    too_large = declared.isdigit() and int(declared[:20]) > most_bytes
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        if too_large and seen == 0:
            seen = 1
            raise HTTPException(413, "the body is too large")
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most_bytes:
                raise HTTPException(413, "the body is too large")
        return message

    return receive_limited


def in_time(receive: Receive, seconds: float) -> Receive:
    """Return a `receive` that raises 408 when the body is not whole after `seconds`; the rest goes on as ever."""
    ends_s = asyncio.get_running_loop().time() + seconds
    is_whole = False

    async def receive_in_time() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        limit = asyncio.timeout_at(ends_s)
        try:
            message = await within(limit, cast(Coroutine[Any, Any, Message], receive()))  # of `limited`
        except TimeoutError:
            if not limit.expired():
                raise
            raise HTTPException(408, "the body did not come in time", {"connection": "close"}) from None
        is_whole = not message.get("more_body", False)
        return message

    return receive_in_time

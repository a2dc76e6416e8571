"""Answers with what it was sent: the same bytes go all the way there and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body

from shared import queued

OCTETS = "application/octet-stream"


@queued("/echo", method="POST", max_concurrency=1000, media_type=OCTETS)
async def echo(data: Annotated[bytes, Body(media_type=OCTETS)]) -> bytes:
    """Return the body."""
    return data

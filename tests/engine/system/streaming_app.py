"""Streams in plain FastAPI, one of which breaks off: what `make peak` has to tell apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse

app = FastAPI()
STEP_S = 0.2


@app.get("/whole", response_class=EventSourceResponse)
async def whole() -> AsyncIterator[int]:
    """Yield three items."""
    for number in range(3):
        yield number
        await asyncio.sleep(STEP_S)


@app.get("/broken")
async def broken() -> AsyncIterator[int]:
    """Yield one item and fail."""
    yield 1
    await asyncio.sleep(STEP_S)
    raise RuntimeError("on purpose")


@app.get("/empty")
async def empty() -> AsyncIterator[int]:
    """Yield nothing."""
    for _ in ():
        yield 1


@app.get("/plain")
async def plain() -> dict[str, str]:
    """Answer in one piece."""
    return {"hello": "world"}

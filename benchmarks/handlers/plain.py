"""The functions behind the benchmark's routes, queued or not: at once, from a query, from a model; and one that waits.

Declares nothing, so that an application without a queue can serve them too. BENCH_ROUTES=n stands for n
routes of the first and nothing else; BENCH_HOLD_S is how long `hold` takes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from benchmarks.database import query as ask_database

HOLD_S = float(os.environ.get("BENCH_HOLD_S", "0.05"))
ROUTES = int(os.environ.get("BENCH_ROUTES", "0"))
REPORT_TIMEOUT_S = 2


async def answer() -> dict[str, str]:
    """Answers at once."""
    return {"hello": "world"}


class Item(BaseModel):
    """What typed routes take and return."""

    n: int
    name: str


async def query(n: Annotated[int, Field(ge=0)], name: str = "tea") -> Item:
    """Answers at once, with two query parameters and a model as result."""
    return Item(n=n, name=name)


async def model(item: Item) -> Item:
    """Answers at once, with a model as body and as result."""
    return item


async def hold() -> dict[str, str]:
    """Answers after a while."""
    await asyncio.sleep(HOLD_S)
    return {"hello": "world"}


async def report() -> dict[str, str]:
    """Answers with what the database says, as many handlers do; it slows down when too many ask at once."""
    await ask_database()
    return {"report": "ready"}


async def events(n: int = 1, every_s: float = 0.0) -> AsyncIterator[float]:
    """Yields moments, so that whoever reads them knows how late they are."""
    for _ in range(n):
        yield time.time()
        await asyncio.sleep(every_s)


DIRECT: dict[tuple[str, str], Callable[..., Any]] = (
    {("GET", f"/plain/{number}"): answer for number in range(ROUTES)}
    if ROUTES
    else {
        ("GET", "/direct"): answer,
        ("GET", "/direct-query"): query,
        ("POST", "/direct-model"): model,
        ("GET", "/direct-hold"): hold,
    }
)
"""The functions by method and path, for routes without a queue."""

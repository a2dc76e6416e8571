"""What the benchmark calls: an answer at once, plain, from a query, from a model; and one that takes a while.

BENCH_ROUTES=n declares n plain routes and nothing else; BENCH_HOLD_S is how long
`/hold` takes. The same functions stand behind the routes without a queue.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from shared import queued

LIMIT = 20_000
"""Above every load of the benchmark: nothing is to be refused."""
PATIENCE_S = 120
HOLD_S = float(os.environ.get("BENCH_HOLD_S", "0.05"))
ROUTES = int(os.environ.get("BENCH_ROUTES", "0"))


async def answer() -> dict[str, str]:
    """Answer at once."""
    return {"hello": "world"}


class Item(BaseModel):
    """What typed routes take and return."""

    n: int
    name: str


async def query(n: Annotated[int, Field(ge=0)], name: str = "tea") -> Item:
    """Answer at once, with two query parameters and a model as result."""
    return Item(n=n, name=name)


async def model(item: Item) -> Item:
    """Answer at once, with a model as body and as result."""
    return item


async def hold() -> dict[str, str]:
    """Answer after a while."""
    await asyncio.sleep(HOLD_S)
    return {"hello": "world"}


if ROUTES:
    for number in range(ROUTES):
        queued(f"/route/{number}", max_concurrency=LIMIT)(answer)
else:
    queued("/queue", max_concurrency=LIMIT)(answer)
    queued("/queue-query", max_concurrency=LIMIT)(query)
    queued("/queue-model", method="POST", max_concurrency=LIMIT)(model)
    queued("/queue-hold", max_concurrency=LIMIT, timeout_s=PATIENCE_S)(hold)

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
"""The same functions by method and path, for routes without a queue."""

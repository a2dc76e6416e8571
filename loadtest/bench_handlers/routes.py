"""What the benchmark calls: an answer at once, plain and typed, and one that takes a while.

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
    """What a typed route returns."""

    n: int
    name: str


async def typed(n: Annotated[int, Field(ge=0)], name: str = "tea") -> Item:
    """Answer at once, with parameters and a model."""
    return Item(n=n, name=name)


async def hold() -> dict[str, str]:
    """Answer after a while."""
    await asyncio.sleep(HOLD_S)
    return {"hello": "world"}


if ROUTES:
    for number in range(ROUTES):
        queued(f"/route/{number}", max_concurrency=LIMIT)(answer)
else:
    queued("/queue", max_concurrency=LIMIT)(answer)
    queued("/queue-typed", max_concurrency=LIMIT)(typed)
    queued("/queue-hold", max_concurrency=LIMIT, timeout_s=PATIENCE_S)(hold)

DIRECT: dict[str, Callable[..., Any]] = (
    {f"/plain/{number}": answer for number in range(ROUTES)}
    if ROUTES
    else {"/direct": answer, "/direct-typed": typed, "/direct-hold": hold}
)
"""The same functions, for routes without a queue."""

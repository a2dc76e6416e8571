"""Four examples to try and to replace. Deleting this file leaves everything green."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from math import isqrt
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from shared import Context, HTTPError, queued

WORK_S = 0.2
"""Simulated work: what a database or another service would take."""


@queued("/", max_concurrency=1000)
async def hello() -> dict[str, str]:
    """Say hello, through gateway, queue, worker and back."""
    return {"hello": "world"}


@queued("/sync-test", max_concurrency=320)
def is_prime(x: Annotated[int, Field(ge=1, le=10**12)]) -> bool:
    """Tell whether x is prime. A plain function: it runs in a thread of a worker."""
    time.sleep(WORK_S)
    return x > 1 and all(x % divisor for divisor in range(2, isqrt(x) + 1))


@queued("/async-test", max_concurrency=1000)
async def fibonacci(n: Annotated[int, Field(ge=0, le=5000)]) -> int:
    """Return the n-th Fibonacci number, however many digits it has."""
    await asyncio.sleep(WORK_S)
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


class Order(BaseModel):
    """What the client wants."""

    item: str = Field(min_length=1, max_length=100)
    quantity: int = Field(1, ge=1, le=100)
    price: Decimal = Field(ge=0, decimal_places=2)


class Receipt(BaseModel):
    """What the client gets."""

    id: UUID
    item: str
    total: Decimal
    request_id: str


@queued("/orders", method="POST", max_concurrency=50, timeout_s=20, level=3)
async def place(order: Order, ctx: Context) -> Receipt:
    """Place an order. A POST is started at most once, whatever happens to workers."""
    if order.item == "nothing":
        raise HTTPError(409, "nothing is out of stock")
    await asyncio.sleep(WORK_S)
    return Receipt(id=uuid4(), item=order.item, total=order.price * order.quantity, request_id=ctx.request_id)

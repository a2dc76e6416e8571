"""Five examples to try and to replace. Deleting this file and `tests/test_demo.py` leaves everything green."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from math import isqrt
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from shared import Context, HTTPError, Resource, queued
from shared.settings import Settings

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


class Second(BaseModel):
    """One step of a countdown."""

    left: int


@queued(
    "/countdown",
    max_concurrency=50,
    timeout_s=5,
    stream_s=20,
    response_class=EventSourceResponse,
    examples={"n": [2]},
)
async def countdown(n: Annotated[int, Field(ge=0, le=15)] = 10) -> AsyncIterator[Second]:
    """Count down, a second at a time: each item is sent when it is yielded."""
    for left in range(n, -1, -1):
        yield Second(left=left)
        if left:
            await asyncio.sleep(1)


class Order(BaseModel):
    """What the client wants."""

    item: str = Field(min_length=1, max_length=100)
    quantity: int = Field(1, ge=1, le=100)
    price: Decimal = Field(ge=0, le=1_000_000, decimal_places=2)


class Receipt(BaseModel):
    """What the client gets."""

    id: UUID
    item: str
    total: Decimal
    request_id: str


class Orders:
    """The table of orders: one connection per worker process, one thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, timeout=5)
        self._lock = threading.Lock()
        with suppress(sqlite3.OperationalError):  # another worker does it at this moment
            self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT, total TEXT)")

    def add(self, receipt: Receipt) -> None:
        """Write one order; raises `sqlite3.Error`."""
        row = (str(receipt.id), receipt.item, str(receipt.total))
        with self._lock, self._connection:
            self._connection.execute("INSERT INTO orders VALUES (?, ?, ?)", row)

    def close(self) -> None:
        self._connection.close()


def open_orders() -> Iterator[Orders]:
    """Open the database when a worker starts, close it when the worker leaves."""
    path = Settings().orders_db
    try:
        orders = Orders(path)
    except (OSError, sqlite3.Error) as error:
        raise RuntimeError(f"no order can be written to {path.absolute()}: set ORDERS_DB to a file that can") from error
    with closing(orders):
        yield orders


@queued("/orders", method="POST", max_concurrency=50, timeout_s=20, level=3)
def place(order: Order, ctx: Context, orders: Annotated[Orders, Resource(open_orders)]) -> Receipt:
    """Place an order. A POST is started at most once, whatever happens to workers."""
    if order.item == "nothing":
        raise HTTPError(409, "nothing is out of stock")
    time.sleep(WORK_S)
    receipt = Receipt(id=uuid4(), item=order.item, total=order.price * order.quantity, request_id=ctx.request_id)
    orders.add(receipt)
    return receipt

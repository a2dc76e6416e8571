"""How a handler is tested, by the example of the demo: called directly, and through gateway, queue and worker.

Write your own beside it; delete it together with `shared/handlers/demo.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from floodgate.testing import System, SystemFactory
from shared import Context, HTTPError
from shared.handlers.demo import Order, Orders, Receipt, Second, countdown, open_orders, place

TEA = {"item": "tea", "quantity": 3, "price": "1.50"}


class FakeOrders(Orders):
    """Keeps receipts in a list instead of the database."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    def add(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


@pytest.fixture
def orders() -> FakeOrders:
    return FakeOrders()


# A handler is an ordinary function. A direct call gives it what the worker would.


def test_an_order_costs_its_price_times_its_quantity(orders: FakeOrders) -> None:
    receipt = place(Order(item="tea", quantity=3, price=Decimal("1.50")), Context("a-request"), orders)
    assert receipt.total == Decimal("4.50")
    assert orders.receipts == [receipt]


def test_nothing_is_out_of_stock(orders: FakeOrders) -> None:
    with pytest.raises(HTTPError, match="out of stock"):
        place(Order(item="nothing", price=Decimal(1)), Context("a-request"), orders)
    assert orders.receipts == []


async def test_a_countdown_ends_with_nothing_left() -> None:
    assert [second async for second in countdown(1)] == [Second(left=1), Second(left=0)]


# `floodgate` runs the whole path on a real server. The worker opens `orders` instead of the database.


@pytest.fixture
async def system(floodgate: SystemFactory, orders: FakeOrders) -> AsyncIterator[System]:
    async with floodgate("shared.handlers.demo", overrides={open_orders: lambda: orders}) as running:
        yield running


async def test_a_client_gets_its_receipt(system: System, orders: FakeOrders) -> None:
    answer = await system.post("/orders", json=TEA, headers={"x-request-id": "mine"})
    assert answer.status_code == 200
    assert (answer.json()["total"], answer.json()["request_id"]) == ("4.50", "mine")
    assert len(orders.receipts) == 1


async def test_an_order_for_nothing_at_all_is_refused_before_it_is_queued(system: System, orders: FakeOrders) -> None:
    answer = await system.post("/orders", json={**TEA, "quantity": 0})
    assert answer.status_code == 422
    assert orders.receipts == []


async def test_a_countdown_comes_second_by_second(system: System) -> None:
    async with system.stream("GET", "/countdown", params={"n": 2}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = [line async for line in answer.aiter_lines() if line]
    assert events == ['data: {"left":2}', 'data: {"left":1}', 'data: {"left":0}']


async def test_when_the_worker_is_lost_the_client_gets_502_and_the_order_is_placed_once(
    system: System, orders: FakeOrders
) -> None:
    async with system.lost(place):
        answer = await system.post("/orders", json=TEA)
    assert answer.status_code == 502
    assert len(orders.receipts) == 1

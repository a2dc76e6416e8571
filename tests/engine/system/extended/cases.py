"""What plain routes of the tests call, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fastapi import Request
from pydantic import SecretStr

from floodgate.gateway import call
from tests.engine.system.extended.handlers import routes
from tests.engine.system.extended.handlers.routes import Item, Size

ITEM = Item(fullName="ü/a", password=SecretStr("p;1"), price=Decimal("1.50"))
OTHER = Item(fullName="other")
ARGUMENTS: dict[str, Any] = {
    "name": "a/b ü?&",
    "item": ITEM,
    "second": OTHER,
    "count": 3,
    "ids": [3, 1, 2],
    "size": Size.LARGE,
    "trace": "é, t",
    "session": 'a;b="c"',
    "since": datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
}


def same(got: object, wanted: object) -> None:
    """Compare type and value; the route answers 500 when they differ."""
    assert (type(got), got) == (type(wanted), wanted)


async def everything(request: Request) -> None:
    """Call with parameters of all kinds."""
    got = await call(routes.everything, **ARGUMENTS, request=request)
    same(got.replace("TzInfo(0)", "datetime.timezone.utc"), routes.shown(list(ARGUMENTS.values())))


async def results(request: Request) -> None:
    """Get back results of all kinds."""
    same(await call(routes.turn, data=b"\xff\x00a", request=request), b"a\x00\xff")
    same([item.price for item in await call(routes.listed, count=2, request=request)], [Decimal(0), Decimal(1)])
    same((await call(routes.created, name="a", request=request)).full_name, "a")
    same((await call(routes.keep, item=OTHER, request=request)), OTHER)
    await call(routes.nothing, request=request)


async def side_by_side(request: Request) -> None:
    """Call fifty times at once; each gets its own answer."""
    await call(routes.double, number=0, request=request)  # of a route without a sample, not so many may wait
    got = await asyncio.gather(*(call(routes.double, number=number, request=request) for number in range(50)))
    same(got, [2 * number for number in range(50)])


async def fifty(request: Request) -> None:
    """Wait for fifty at once."""
    tag = request.query_params["tag"]
    await asyncio.gather(*(call(routes.sleep, tag=tag, seconds=5, request=request) for _ in range(50)))


async def one(request: Request) -> None:
    """Wait for one."""
    await call(routes.sleep, tag=request.query_params["tag"], seconds=5, request=request)


async def two_in_turn(request: Request) -> None:
    """Call again after the client has left."""
    try:
        await call(routes.sleep, tag=request.query_params["tag"], seconds=5, request=request)
    finally:
        await call(routes.sleep, tag="second-" + request.query_params["tag"], seconds=0.3, request=request)


async def who(request: Request) -> Any:
    """Call twenty at once, and tell who asked."""
    told = await asyncio.gather(*(call(routes.whoami, request=request) for _ in range(20)))
    same({one.request_id for one in told}, {told[0].request_id})
    same({one.id for one in told}, {told[0].id})
    return told[0]


async def full(request: Request) -> Any:
    """Call what is full."""
    return await call(routes.narrow, tag="refused", seconds=0, request=request)


async def late(request: Request) -> Any:
    """Call what takes too long."""
    return await call(routes.short, request=request)


async def gone(request: Request) -> Any:
    """Call what raises a status."""
    return await call(routes.gone, request=request)


async def broken(request: Request) -> Any:
    """Call what raises."""
    return await call(routes.broken, request=request)


async def lost(request: Request) -> Any:
    """Call what kills its worker."""
    return await call(routes.dies, request=request)


async def unknown(request: Request) -> Any:
    """Call what is not queued."""
    return await call(full, request=request)


async def missing(request: Request) -> Any:
    """Call without what is needed."""
    return await call(routes.keep, request=request)


async def invalid(request: Request) -> Any:
    """Call with what does not fit."""
    return await call(routes.listed, count="many", request=request)


CASES: dict[str, Callable[[Request], Awaitable[Any]]] = {
    function.__name__: function
    for function in (
        everything,
        results,
        side_by_side,
        fifty,
        one,
        two_in_turn,
        who,
        full,
        late,
        gone,
        broken,
        lost,
        unknown,
        missing,
        invalid,
    )
}

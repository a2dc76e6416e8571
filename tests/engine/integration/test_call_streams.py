"""A plain route that calls a handler which streams gets its items, one after the other, as they were yielded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from floodgate.gateway import HandlerFailed, call, join
from floodgate.gateway.connections import StreamBroken
from floodgate.testing import System, SystemFactory
from shared import HTTPError, Reply, queued

SEEN: list[Any] = []


class Token(BaseModel):
    """An item."""

    n: int


@queued("/called/lines", 10, timeout_s=2, stream_s=5)
async def lines(n: int, fails: bool = False, before: bool = False) -> AsyncIterator[Token]:
    if before:
        raise HTTPError(409, "not now")
    try:
        for number in range(n):
            yield Token(n=number)
            await asyncio.sleep(0.005)
        if fails:
            raise RuntimeError("on purpose")
    finally:
        SEEN.append("ended")


@queued("/called/events", 10, timeout_s=2, stream_s=5, response_class=EventSourceResponse)
def events() -> Iterator[Token | ServerSentEvent | Reply[None]]:
    yield Reply(None, 202)
    yield Token(n=1)
    yield ServerSentEvent(data={"a": 1}, event="named", id="7", comment="said")
    yield ServerSentEvent(raw_data="two\nlines", retry=5)
    yield Token(n=2)


@queued("/called/bytes", 10, timeout_s=2, stream_s=5, response_class=StreamingResponse)
async def octets(n: int) -> AsyncIterator[bytes]:
    for _ in range(n):
        yield b"x" * 1000


def build() -> FastAPI:
    app = FastAPI()

    @app.get("/plain/lines")
    async def of_lines(request: Request, n: int, most: int = 10**9, fails: bool = False, before: bool = False) -> str:
        try:
            items: Any = await call(lines, request=request, n=n, fails=fails, before=before)
            async with aclosing(items):
                async for item in items:
                    SEEN.append(item)
                    if len(SEEN) >= most:
                        return "left"
        except HandlerFailed as error:
            return f"failed {error.status}"
        return "whole"

    @app.get("/plain/events")
    async def of_events(request: Request) -> None:
        SEEN.extend([item async for item in await call(events, request=request)])  # type: ignore[attr-defined]

    @app.get("/plain/bytes")
    async def of_bytes(request: Request, n: int) -> int:
        return sum([len(piece) async for piece in await call(octets, request=request, n=n)])

    return join(app)


@pytest_asyncio.fixture
async def system(floodgate: SystemFactory) -> AsyncIterator[System]:
    SEEN.clear()
    async with floodgate(__name__, gateway=build, stream_window_bytes=64 * 1024) as running:
        yield running


@pytest.mark.parametrize("n", [0, 1, 50])
async def test_items_come_back_as_what_they_were(system: System, n: int) -> None:
    answer = await system.get("/plain/lines", params={"n": n})
    assert answer.json() == "whole"
    assert [item for item in SEEN if item != "ended"] == [Token(n=number) for number in range(n)]


async def test_events_come_back_as_items_or_as_events_where_they_say_more(system: System) -> None:
    assert (await system.get("/plain/events")).status_code == 200
    assert [
        Token(n=1),
        ServerSentEvent(raw_data='{"a": 1}', event="named", id="7", comment="said"),
        ServerSentEvent(raw_data="two\nlines", retry=5),
        Token(n=2),
    ] == SEEN


async def test_bytes_that_are_more_than_the_window_come_whole(system: System) -> None:
    assert (await system.get("/plain/bytes", params={"n": 500})).json() == 500_000


async def test_a_stream_that_breaks_off_raises_after_the_items_that_came(system: System) -> None:
    answer = await system.get("/plain/lines", params={"n": 3, "fails": True})
    assert answer.json() == "failed 500"
    assert [item for item in SEEN if item != "ended"] == [Token(n=number) for number in range(3)]


async def test_what_fails_before_the_first_item_raises_with_its_status(system: System) -> None:
    assert (await system.get("/plain/lines", params={"n": 3, "before": True})).json() == "failed 409"


async def test_a_caller_that_leaves_early_stops_the_handler(system: System) -> None:
    assert (await system.get("/plain/lines", params={"n": 900, "most": 3})).json() == "left"
    async with asyncio.timeout(3):
        while "ended" not in SEEN:
            await asyncio.sleep(0.01)
    assert len(SEEN) < 300


async def test_the_fixture_gives_a_stream_once_it_is_whole_and_raises_where_it_breaks_off(system: System) -> None:
    assert (await system.get("/called/lines", params={"n": 2})).text == '{"n":0}\n{"n":1}\n'
    with pytest.raises(StreamBroken):
        await system.get("/called/lines", params={"n": 2, "fails": True})

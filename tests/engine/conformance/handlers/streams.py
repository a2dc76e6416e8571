"""Generators of every kind: typed or not, async or in threads, as events, lines and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field, computed_field

from shared import Reply, queued

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


class Token(BaseModel):
    """A word of an answer."""

    text: str = Field(serialization_alias="t")
    at: datetime = AT
    worth: Decimal = Decimal("1.10")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        """How long it is."""
        return len(self.text)


class Secretive(Token):
    """A word that says more than it should."""

    secret: str = "secret"


@dataclass
class Spot:
    """Has what a token needs, as attributes."""

    text: str = "spot"
    at: datetime = AT
    worth: Decimal = Decimal(2)


class Csv(StreamingResponse):
    """Bytes with a type of their own."""

    media_type = "text/csv"


class Events(EventSourceResponse):
    """A class of the user's own."""


ODD: tuple[Any, ...] = (
    1,
    1.5,
    float("nan"),
    [float("inf"), {"a": -float("inf")}],
    'line\nbreak\r\nand \u2028 "quotes" <é>\0',
    "",
    None,
    True,
    {"b": 1, "a": [1, 2]},
    AT,
    Decimal("1.10"),
    Token(text="é"),
    Secretive(text="more"),
    Spot(),
    {1},
    b"bytes",
    ServerSentEvent(data="as it is", event="named"),
)


@queued("/streams/lines", max_concurrency=20)
async def lines(n: int = 3) -> AsyncIterable[Token]:
    """Yield models, one of which is a subclass and one something with its attributes."""
    for number in range(n):
        yield Token(text=f"word {number} é")
    yield Secretive(text="more")
    yield Spot()  # type: ignore[misc]


@queued("/streams/lines-sync", max_concurrency=20)
def lines_sync(n: int = 3) -> Iterator[Token]:
    """Yield models in a thread."""
    for number in range(n):
        yield Token(text=f"word {number}")


@queued("/streams/lines-untyped", max_concurrency=20)
async def lines_untyped():  # type: ignore[no-untyped-def]
    """Yield whatever there is."""
    for item in ODD:
        yield item


@queued("/streams/lines-untyped-sync", max_concurrency=20)
def lines_untyped_sync():  # type: ignore[no-untyped-def]
    """Yield whatever there is, in a thread."""
    yield from ODD


@queued("/streams/lines-any", max_concurrency=20)
async def lines_any() -> AsyncGenerator[Any, None]:
    """Yield whatever there is, and say so."""
    for item in ODD[3:]:
        yield item


@queued("/streams/lines-events", max_concurrency=20)
async def lines_events() -> AsyncIterator[ServerSentEvent]:
    """Yield events where lines are sent."""
    yield ServerSentEvent(data={"a": 1}, event="x")


@queued("/streams/lines-none", max_concurrency=20)
async def lines_none() -> AsyncIterator[int]:
    """Yield nothing at all."""
    for _ in ():
        yield 1


@queued("/streams/lines-mappings", max_concurrency=20)
def lines_mappings() -> Generator[dict[str, list[float]], None, None]:
    """Yield mappings."""
    yield {"a": [1, 2.5], "b": []}
    yield {}


@queued("/streams/lines-optional", max_concurrency=20)
async def lines_optional() -> AsyncIterator[Token | int | None]:
    """Yield one of several."""
    yield None
    yield 3
    yield Token(text="a")


@queued("/streams/lines-misannotated", max_concurrency=20)
async def lines_misannotated() -> dict[str, int]:  # type: ignore[misc]
    """Yield, and say something else."""
    yield {"a": 1}


@queued("/streams/events", max_concurrency=20, response_class=EventSourceResponse)
async def events(n: int = 3) -> AsyncIterable[Token]:
    """Yield models as events."""
    for number in range(n):
        yield Token(text=f"word {number} é")
    yield Secretive(text="more")


@queued("/streams/events-sync", max_concurrency=20, response_class=EventSourceResponse)
def events_sync(n: int = 3) -> Iterable[Token]:
    """Yield models as events, in a thread."""
    for number in range(n):
        yield Token(text=f"word {number}")


@queued("/streams/events-untyped", max_concurrency=20, response_class=Events)
async def events_untyped():  # type: ignore[no-untyped-def]
    """Yield whatever there is."""
    for item in ODD:
        yield item


@queued("/streams/events-own", max_concurrency=20, response_class=EventSourceResponse)
async def events_own() -> AsyncIterator[ServerSentEvent]:
    """Yield events of every form."""
    yield ServerSentEvent(data="hello", event="greeting", id="1", retry=3000, comment="said\nonce")
    yield ServerSentEvent(raw_data="a\nb\r\nc\rd\n")
    yield ServerSentEvent(raw_data="")
    yield ServerSentEvent(comment="only this")
    yield ServerSentEvent()
    yield ServerSentEvent(data=Token(text="é"), id="2")
    yield ServerSentEvent(data=[float("nan"), AT], retry=0)
    yield ServerSentEvent(data=Spot())


@queued("/streams/events-mixed", max_concurrency=20, response_class=EventSourceResponse)
def events_mixed() -> Iterator[Token | ServerSentEvent]:
    """Yield models and events."""
    yield Token(text="a")
    yield ServerSentEvent(data=Token(text="b"), event="x")


@queued("/streams/bytes", max_concurrency=20, response_class=StreamingResponse)
async def raw() -> AsyncIterator[bytes | str]:
    """Yield bytes and text."""
    yield b"\x00\xff"
    yield "é"
    yield b""
    yield memoryview(b"view")  # type: ignore[misc]


@queued("/streams/csv", max_concurrency=20, response_class=Csv)
def csv() -> Iterator[str]:
    """Yield the lines of a table, in a thread."""
    yield "a,b\n"
    yield "1,é\n"


@queued("/streams/created", method="POST", max_concurrency=20, status_code=201)
async def created(token: dict[str, int], times: int = 2) -> AsyncIterator[dict[str, int]]:
    """Yield what came, so many times."""
    for _ in range(times):
        await asyncio.sleep(0)
        yield token


@queued("/streams/summarised", max_concurrency=20, tags=["one"], summary="A summary", deprecated=True)
async def summarised() -> AsyncIterator[int]:
    """Yield numbers under a summary."""
    yield 1


@queued("/streams/reply", max_concurrency=20, response_class=EventSourceResponse)
async def reply() -> AsyncIterator[Token | Reply[None]]:
    """Say status and headers first."""
    yield Reply(None, 202, {"X-Model": "small"})
    yield Token(text="a")

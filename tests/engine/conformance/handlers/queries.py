"""Query parameters of every kind."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, Json
from typing_extensions import TypeAliasType

from shared import queued
from tests.engine.conformance.handlers.telling import Colour, Size, told


@queued("/queries/text", max_concurrency=20)
async def text(text: str) -> dict[str, str]:
    """Take a text."""
    return told(text=text)


@queued("/queries/number", max_concurrency=20)
def number(number: int) -> dict[str, str]:
    """Take a number, in a thread."""
    return told(number=number)


@queued("/queries/scalars", max_concurrency=20)
async def scalars(x: float, exact: Decimal, flag: bool, id: UUID) -> dict[str, str]:
    """Take one of each."""
    return told(x=x, exact=exact, flag=flag, id=id)


@queued("/queries/choices", max_concurrency=20)
async def choices(colour: Colour, size: Size = Size.SMALL, side: Literal["left", 2] = "left") -> dict[str, str]:
    """Take one of several."""
    return told(colour=colour, size=size, side=side)


@queued("/queries/times", max_concurrency=20)
async def times(at: datetime, day: date, clock: time, pause: timedelta) -> dict[str, str]:
    """Take times."""
    return told(at=at, day=day, clock=clock, pause=pause)


@queued("/queries/list", max_concurrency=20)
async def many(tag: Annotated[list[str], Query()]) -> dict[str, str]:
    """Take one or more."""
    return told(tag=tag)


@queued("/queries/lists", max_concurrency=20)
async def lists(
    number: Annotated[list[int] | None, Query(max_length=3)] = None,
    colour: Annotated[set[Colour], Query(description="every one once")] = {Colour.RED, Colour.DARK_RED},  # noqa: B006
    pair: Annotated[tuple[int, str] | None, Query()] = None,
    made: list[str] = Query(default_factory=list),  # noqa: B008
) -> dict[str, str]:
    """Take none or more."""
    return told(number=number, colour=colour, pair=pair, made=made)


@queued("/queries/optional", max_concurrency=20)
async def optional(text: str | None = None, number: int | None = None, known: str = "a word") -> dict[str, str]:
    """Take them or not."""
    return told(text=text, number=number, known=known)


@queued("/queries/aliases", max_concurrency=20)
async def aliases(
    since: Annotated[int, Query(alias="from")],
    until: Annotated[int, Query(validation_alias="to")],
    step: Annotated[int, Query(validation_alias=AliasChoices("step", "by"))] = 1,
) -> dict[str, str]:
    """Take them by other names."""
    return told(since=since, until=until, step=step)


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("odd numbers are not taken")
    return value


@queued("/queries/constrained", max_concurrency=20)
async def constrained(
    number: Annotated[int, Field(ge=1), Query(le=10, title="Number", description="1 to 10")] = 1,
    word: Annotated[str, Query(min_length=2, max_length=5, pattern="^[a-zäé]+$")] = "word",
    even: Annotated[int, AfterValidator(_even)] = 0,
) -> dict[str, str]:
    """Take what keeps to the rules."""
    return told(number=number, word=word, even=even)


class Filters(BaseModel):
    """Query parameters as a model."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, gt=0, le=100)
    order_by: Literal["created", "updated"] = Field("created", alias="orderBy")
    tags: list[str] = []


@queued("/queries/model", max_concurrency=20)
async def model(filters: Annotated[Filters, Query()]) -> dict[str, str]:
    """Take a model that forbids what it does not know."""
    return told(filters=filters)


@queued("/queries/json", max_concurrency=20)
async def encoded(numbers: Annotated[Json[list[int]], Query()]) -> dict[str, str]:
    """Take JSON within a parameter."""
    return told(numbers=numbers)


Page = TypeAliasType("Page", Annotated[int, Query(ge=1, description="a page")])


@queued("/queries/alias-type", max_concurrency=20)
async def alias_type(page: Page, more: Annotated[Filters | None, Query()] = None) -> dict[str, str]:
    """Take what a type alias stands for, and perhaps a model."""
    return told(page=page, more=more)


@queued("/queries/shown", max_concurrency=20)
async def shown(
    old: Annotated[str | None, Query(deprecated=True)] = None,
    secret: Annotated[str | None, Query(include_in_schema=False)] = None,
    city: Annotated[str, Query(openapi_examples={"big": {"summary": "A big one", "value": "Łódź"}})] = "Ulm",
) -> dict[str, str]:
    """Show parameters in other ways."""
    return told(old=old, secret=secret, city=city)

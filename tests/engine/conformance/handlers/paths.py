"""Path parameters of every kind."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path

from shared import queued
from tests.engine.conformance.handlers.telling import Colour, Size, told


@queued("/paths/word/{word}", max_concurrency=20)
async def word(word: str) -> dict[str, str]:
    """Take a text."""
    return told(word=word)


@queued("/paths/number/{number}", max_concurrency=20)
def number(
    number: Annotated[int, Path(ge=-5, le=10**30, title="A number", description="not too small")],
) -> dict[str, str]:
    """Take a number within bounds, in a thread."""
    return told(number=number)


@queued("/paths/id/{id}/{price}", max_concurrency=20)
async def id_and_price(id: UUID, price: Decimal) -> dict[str, str]:
    """Take two."""
    return told(id=id, price=price)


@queued("/paths/choices/{colour}/{size}/{side}", max_concurrency=20)
async def choices(colour: Colour, size: Size, side: Literal["left", "right"]) -> dict[str, str]:
    """Take one of several."""
    return told(colour=colour, size=size, side=side)


@queued("/paths/rest/{rest:path}", max_concurrency=20)
async def rest(rest: str) -> dict[str, str]:
    """Take all the rest, with its slashes."""
    return told(rest=rest)


@queued("/paths/alias/{itemId}", max_concurrency=20)
async def aliased(item_id: Annotated[int, Path(alias="itemId")]) -> dict[str, str]:
    """Take one by another name."""
    return told(item_id=item_id)


@queued("/paths/day/{day}/{number:int}/{share:float}/{id:uuid}", max_concurrency=20)
def converted(day: date, number: int, share: float, id: UUID) -> dict[str, str]:
    """Take what Starlette's converters read."""
    return told(day=day, number=number, share=share, id=id)

"""How routes look to their clients: texts, examples, what is hidden and what is old."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Header, Query
from pydantic import BaseModel, Field

from shared import queued
from tests.engine.conformance.handlers.telling import told


class Parcel(BaseModel):
    """What is sent."""

    weight: float = Field(gt=0)


@queued("/presented/all", max_concurrency=20, tags=["one", "two"], summary="A summary", deprecated=True)
async def texts() -> str:
    """Show every text.

    With *two* paragraphs.
    \f
    And one that is not shown.
    """
    return "shown"


@queued("/presented/hidden", max_concurrency=20, include_in_schema=False)
async def hidden(number: int = 1) -> dict[str, str]:
    """Stay out of the documentation."""
    return told(number=number)


@queued(
    "/presented/examples/{n}",
    method="POST",
    max_concurrency=20,
    examples={"n": [2, 97], "word": ["tea"], "size": [3], "parcel": [{"weight": 1.5}], "x_tag": ["a"], "old": ["b"]},
)
async def examples(
    n: int,
    parcel: Parcel,
    word: Annotated[str, Query(max_length=5)],
    x_tag: Annotated[str, Header(alias="X-Tag")],
    size: int | None = None,
    old: str = Query("old", description="as a default value"),
) -> dict[str, str]:
    """Show examples of every parameter."""
    return told(n=n, parcel=parcel, word=word, x_tag=x_tag, size=size, old=old)


@queued(
    "/presented/parts", method="POST", max_concurrency=20, examples={"note": ["careful"], "parcel": [{"weight": 2}]}
)
async def part_examples(parcel: Parcel, note: Annotated[str, Body(description="for the carrier")]) -> dict[str, str]:
    """Show examples of the parts of a body."""
    return told(parcel=parcel, note=note)

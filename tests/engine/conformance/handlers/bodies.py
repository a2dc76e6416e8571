"""Bodies of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Body, Cookie, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from typing_extensions import TypedDict

from shared import queued
from tests.engine.conformance.handlers.telling import Colour, told


class Maker(BaseModel):
    """A model within a model."""

    name: str = Field(min_length=1, description="as on the label")
    founded: datetime | None = None


class Item(BaseModel):
    """A body of several kinds of fields."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fullName": "tea", "price": "4.50"}]})

    full_name: str = Field(alias="fullName")
    price: Decimal = Field(ge=0, decimal_places=2)
    makers: list[Maker] = []
    colours: set[Colour] = {Colour.RED}
    password: SecretStr | None = None
    any: Any = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: dict[str, int] = {}


@dataclass
class Point:
    """A body that is a dataclass."""

    x: float
    y: float = 0


class Line(TypedDict, total=False):
    """A body that is a dictionary of known keys."""

    begin: Point
    end: Point


@queued("/bodies/model", method="POST", max_concurrency=20)
async def model(item: Item) -> dict[str, str]:
    """Take a model."""
    return told(item=item)


@queued("/bodies/optional", method="POST", max_concurrency=20)
def optional(item: Item | None = None) -> dict[str, str]:
    """Take a model or nothing, in a thread."""
    return told(item=item)


@queued("/bodies/list", method="PUT", max_concurrency=20)
async def models(makers: list[Maker]) -> dict[str, str]:
    """Take several models."""
    return told(makers=makers)


@queued("/bodies/union", method="POST", max_concurrency=20)
async def union(animal: Cat | Dog) -> dict[str, str]:
    """Take one of two models."""
    return told(animal=animal)


@queued("/bodies/told-apart", method="POST", max_concurrency=20)
async def told_apart(animal: Annotated[Cat | Dog, Field(discriminator="kind")]) -> dict[str, str]:
    """Take one of two models that say which they are."""
    return told(animal=animal)


@queued("/bodies/parts", method="PUT", max_concurrency=20)
async def parts(
    item: Item,
    maker: Maker,
    importance: Annotated[int, Body(gt=0, alias="weight")],
    note: Annotated[str, Body()] = "none",
) -> dict[str, str]:
    """Take several parts."""
    return told(item=item, maker=maker, importance=importance, note=note)


@queued("/bodies/embedded", method="PATCH", max_concurrency=20)
async def embedded(maker: Annotated[Maker, Body(embed=True)]) -> dict[str, str]:
    """Take a model under its name."""
    return told(maker=maker)


@queued("/bodies/scalar", method="POST", max_concurrency=20)
async def scalar(number: Annotated[int, Body(ge=0)]) -> dict[str, str]:
    """Take a number as the body."""
    return told(number=number)


@queued("/bodies/text", method="POST", max_concurrency=20)
async def text(text: Annotated[str, Body(media_type="text/plain", max_length=40)]) -> dict[str, str]:
    """Take a text as the body."""
    return told(text=text)


@queued("/bodies/raw", method="POST", max_concurrency=20)
async def raw(data: Annotated[bytes, Body(media_type="application/octet-stream", max_length=300)]) -> dict[str, str]:
    """Take bytes as they come."""
    return told(data=data)


@queued("/bodies/raw-optional", method="POST", max_concurrency=20)
def raw_optional(data: Annotated[bytes | None, Body(media_type="image/png")] = None) -> dict[str, str]:
    """Take bytes or nothing."""
    return told(data=data)


@queued("/bodies/mapping", method="POST", max_concurrency=20)
async def mapping(weights: dict[UUID, float]) -> dict[str, str]:
    """Take a mapping."""
    return told(weights=weights)


@queued("/bodies/anything", method="POST", max_concurrency=20)
async def anything(value: Annotated[Any, Body()]) -> dict[str, str]:
    """Take whatever comes."""
    return told(value=value)


@queued("/bodies/dataclass", method="POST", max_concurrency=20)
async def point(point: Point) -> dict[str, str]:
    """Take a dataclass."""
    return told(point=point)


@queued("/bodies/typed-dict", method="POST", max_concurrency=20)
async def line(line: Annotated[Line, Body()]) -> dict[str, str]:
    """Take a dictionary of known keys."""
    return told(line=line)


@queued("/bodies/with-get", max_concurrency=20)
async def with_get(maker: Maker) -> dict[str, str]:
    """Take a body where HTTP does not expect one."""
    return told(maker=maker)


@queued("/bodies/all/{id}", method="POST", max_concurrency=20)
async def everywhere(
    id: Annotated[UUID, Path()],
    item: Item,
    tag: Annotated[list[int], Query()],
    x_trace: Annotated[str, Header()],
    session: Annotated[int, Cookie()],
) -> dict[str, str]:
    """Take something from everywhere."""
    return told(id=id, item=item, tag=tag, x_trace=x_trace, session=session)

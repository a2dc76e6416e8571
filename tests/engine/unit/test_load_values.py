"""Generated values: whatever a schema of pydantic's says, what is generated for it is valid."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import UUID1, AnyUrl, Base64Str, BaseModel, Field, Json, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from floodgate.peak.patterns import NoMatch, matching
from floodgate.peak.values import DEPTH, NoValue, Values


class Colour(Enum):
    RED = "red"
    DARK_RED = "dark red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: dict[str, int]


class Node(BaseModel):
    """Refers to itself, but not without an end."""

    name: Annotated[str, Field(min_length=3)]
    below: list[Node] = []
    beside: Node | None = None


@dataclass
class Point:
    x: float
    y: float


class Line(TypedDict):
    begin: Point
    end: Point


Word = StringConstraints

TYPES: list[Any] = [
    int,
    float,
    bool,
    str,
    Decimal,
    None,
    Any,
    UUID,
    UUID1,
    datetime,
    date,
    time,
    timedelta,
    AnyUrl,
    Base64Str,
    IPv4Address,
    IPv6Address,
    IPv4Network,
    IPv6Interface,
    Colour,
    Literal["left", 2],
    Literal["alone"],
    Annotated[int, Ge(1), Le(10**12)],
    Annotated[int, Gt(-7), Lt(-5)],
    Annotated[int, Le(-1000)],
    Annotated[int, Ge(10**30)],
    Annotated[int, MultipleOf(7), Gt(0)],
    Annotated[int, Ge(5), Le(5)],
    Annotated[float, Gt(0), Lt(1)],
    Annotated[float, Ge(0.5), Le(0.75)],
    Annotated[float, MultipleOf(0.5), Ge(0.25)],
    Annotated[Decimal, Field(ge=0, decimal_places=2, max_digits=5)],
    Annotated[str, Word(min_length=40)],
    Annotated[str, Word(max_length=2)],
    Annotated[str, Word(min_length=5, max_length=5)],
    Annotated[str, Word(pattern="^[a-zäé]+$", min_length=2, max_length=5)],
    Annotated[str, Word(pattern=r"^\d{4}-(north|south)[^0-9]?\.$")],
    Annotated[str, Word(pattern="^[A-Z]{2,}$", min_length=20)],
    Annotated[str, Word(pattern="id")],
    list[int],
    Annotated[list[int], Field(min_length=3, max_length=4)],
    Annotated[set[Colour], Field(min_length=2)],
    Annotated[list[str], Field(max_length=0)],
    tuple[int, str],
    tuple[int, ...],
    dict[UUID, float],
    Annotated[dict[str, int], Field(min_length=3)],
    dict[Annotated[str, Word(pattern="^x-[a-z]+$")], int],
    Json[list[int]],
    int | None,
    Cat | Dog,
    Annotated[Cat | Dog, Field(discriminator="kind")],
    Node,
    Point,
    Line,
    list[Node | Point],
]


@pytest.mark.parametrize("wanted", TYPES, ids=str)
def test_a_generated_value_is_valid(wanted: Any) -> None:
    adapter = TypeAdapter(wanted)
    schema = adapter.json_schema()
    for seed in range(20):
        adapter.validate_python(Values(schema, random.Random(seed)).value(schema), strict=False)


def test_equal_seeds_give_equal_values() -> None:
    schema = TypeAdapter(Line).json_schema()
    one, other = (Values(schema, random.Random(3)).value(schema) for _ in range(2))
    assert one == other


def test_examples_come_before_everything_that_could_be_generated() -> None:
    class Order(BaseModel):
        item: Annotated[str, Field(examples=["cake", "pie"])]
        note: Annotated[str | None, Field(examples=["soon"])] = None
        more: str = "left to the handler"

    schema = Order.model_json_schema()
    found = [Values(schema, random.Random(seed)).value(schema) for seed in range(20)]
    assert {value["item"] for value in found} == {"cake", "pie"}
    assert all(value.keys() == {"item", "note"} for value in found)


def test_an_example_of_a_whole_model_is_taken_as_it_is() -> None:
    schema = {"$ref": "#/$defs/Cat", "examples": [{"kind": "cat", "lives": 1}], "$defs": {"Cat": {"type": "object"}}}
    assert Values(schema, random.Random(1)).value(schema) == {"kind": "cat", "lives": 1}


def test_schemas_are_laid_over_one_another() -> None:
    named = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    aged = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    schema = {"allOf": [{"$ref": "#/$defs/Named"}, aged], "$defs": {"Named": named}}
    assert Values(schema, random.Random(1)).value(schema).keys() == {"name", "age"}


def test_a_bound_that_excludes_itself_is_understood_as_openapi_3_0_writes_it() -> None:
    schema = {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": True}
    assert Values(schema, random.Random(1)).value(schema) == 4


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "#"}, "itself"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "within the bounds"),
        ({"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True}, "different items"),
        ({"type": "string", "pattern": r"^\p{L}+$"}, "none of Python's"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "right length"),
    ],
)
def test_what_has_no_value_says_why(schema: dict[str, Any], why: str) -> None:
    endless = {"type": "object", "properties": {"more": {"$ref": "#"}}, "required": ["more"]}
    with pytest.raises(NoValue, match=re.escape(why)):
        Values(endless, random.Random(1)).value(schema)
    assert DEPTH < 50


@pytest.mark.parametrize(
    "pattern",
    ["", "a", "^(?:ab|cd)+$", r"^(\w)\1$", r"[^\s]{3}", "^.{0,2}$", r"\bx", "^(?=a)[ab]c", "a*?b", r"^[^\W\d_]{2}$"],
)
def test_a_text_matches_its_pattern(pattern: str) -> None:
    for seed in range(20):
        assert re.search(pattern, matching(pattern, random.Random(seed)))


def test_a_pattern_that_nothing_matches_is_given_up() -> None:
    with pytest.raises(NoMatch):
        matching("^a(?!b)b$", random.Random(1))

"""Results of every kind, rendered by their annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field
from typing_extensions import TypedDict

from shared import queued
from tests.engine.conformance.handlers.telling import Colour

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


class Person(BaseModel):
    """What everybody may see."""

    full_name: str = Field(serialization_alias="fullName")
    born: datetime = AT
    pause: timedelta = timedelta(minutes=90)
    worth: Decimal = Decimal("1.10")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        """The first letter."""
        return self.full_name[:1]


class Account(Person):
    """What nobody else may see."""

    password: str = "secret"


class Sloppy(BaseModel):
    """A default that its own annotation does not allow."""

    number: int = "many"  # type: ignore[assignment]


class Ratio(BaseModel):
    """A model with a float."""

    value: float


class Anything(BaseModel):
    """A model that keeps what it does not know."""

    model_config = ConfigDict(extra="allow")


@dataclass
class Point:
    """A dataclass."""

    x: Decimal
    inner: list[Point] = field(default_factory=list)


class Line(TypedDict):
    """A dictionary of known keys."""

    begin: Point
    colour: Colour


@dataclass
class Row:
    """What an object-relational mapper returns."""

    full_name: str
    born: datetime = AT
    pause: timedelta = timedelta(0)
    worth: Decimal = Decimal("0.0")
    hidden: str = "secret"


@queued("/results/subclass", max_concurrency=20)
async def subclass() -> Person:
    """Return more than the annotation shows."""
    return Account(full_name="Ada Łovelace")


@queued("/results/dict", max_concurrency=20)
async def as_dict() -> Person:
    """Return a dictionary for a model."""
    return {"full_name": "Ada", "worth": 3, "password": "secret"}  # type: ignore[return-value]


@queued("/results/attributes", max_concurrency=20)
def attributes() -> list[Person]:
    """Return objects that have the attributes of a model."""
    return [Row("Ada"), Row("Grace")]  # type: ignore[list-item]


@queued("/results/sloppy", max_concurrency=20)
async def sloppy() -> Sloppy:
    """Return a model whose default is not valid."""
    return Sloppy()


@queued("/results/wrong", max_concurrency=20)
async def wrong() -> Person:
    """Return what the annotation forbids."""
    return {"name": "Ada"}  # type: ignore[return-value]


@queued("/results/either", max_concurrency=20)
async def either(first: bool) -> Person | Line | None:
    """Return one of several."""
    return Person(full_name="Ada") if first else {"begin": Point(Decimal("1.50")), "colour": Colour.DARK_RED}


@queued("/results/mixed", max_concurrency=20)
async def unannotated():  # type: ignore[no-untyped-def]
    """Return many types without an annotation."""
    return {
        "decimals": [Decimal("1.50"), Decimal(3)],
        "times": (AT, AT.date(), AT.time(), timedelta(seconds=1.5)),
        "set": {UUID(int=1)},
        "model": Account(full_name="Ada"),
        "dataclass": Point(Decimal("0.1"), [Point(Decimal(2))]),
        "enum": Colour.DARK_RED,
        "bytes": "ä".encode(),
        "secret": SecretStr("secret"),
        1: None,
    }


@queued("/results/any", max_concurrency=20)
async def any_value() -> Any:
    """Return many types as Any."""
    return {"decimal": Decimal("1.50"), "at": AT, "model": Account(full_name="Ada"), "ids": [UUID(int=1)]}


@queued("/results/decimal", max_concurrency=20)
async def decimal() -> Decimal:
    """Return an exact number."""
    return Decimal("0.10")


@queued("/results/times", max_concurrency=20)
def times() -> list[datetime | timedelta]:
    """Return times."""
    return [AT, AT.replace(tzinfo=None), timedelta(days=1, milliseconds=1)]


@queued("/results/dataclass", max_concurrency=20)
async def dataclass_value() -> Point:
    """Return a dataclass."""
    return Point(Decimal("1.0"), [Point(Decimal(2))])


@queued("/results/typed-dict", max_concurrency=20)
async def typed_dict() -> Line:
    """Return a dictionary of known keys."""
    return {"begin": Point(Decimal(1)), "colour": Colour.RED}


@queued("/results/text", max_concurrency=20)
async def text() -> str:
    """Return a text as JSON."""
    return 'a "text" of Łódź\u2028\x00🦆'


@queued("/results/surrogate", max_concurrency=20)
async def surrogate() -> str:
    """Return a text that no UTF-8 can hold."""
    return "\ud800"


@queued("/results/nothing", max_concurrency=20)
async def nothing() -> None:
    """Return nothing."""


@queued("/results/not-quite-nothing", max_concurrency=20)
async def not_quite_nothing() -> None:
    """Return something in spite of the annotation."""
    return {"some": "thing"}  # type: ignore[return-value]


@queued("/results/integer", max_concurrency=20)
async def integer(digits: int) -> int:
    """Return a number of that many digits."""
    return int(10**digits - 1)


@queued("/results/integer-untyped", max_concurrency=20)
async def integer_untyped(digits: int):  # type: ignore[no-untyped-def]
    """Return a number of that many digits, without an annotation."""
    return [10**digits - 1]


@queued("/results/float", max_concurrency=20)
async def float_value(x: float) -> float:
    """Return a number that may be none."""
    return x


@queued("/results/float-untyped", max_concurrency=20)
async def float_untyped(x: float):  # type: ignore[no-untyped-def]
    """Return a number that may be none, without an annotation."""
    return [x]


@queued("/results/float-model", max_concurrency=20)
async def float_model(x: float) -> dict[str, Ratio | Anything]:
    """Return models with numbers that may be none."""
    return {"ratio": Ratio(value=x), "anything": Anything(value=x)}


@queued("/results/created", method="POST", max_concurrency=20, status_code=HTTPStatus.CREATED)
async def created() -> Person:
    """Return a model under another status."""
    return Person(full_name="Ada")


@queued("/results/no-content", method="DELETE", max_concurrency=20, status_code=204)
def no_content() -> None:
    """Return nothing, not even a body."""


@queued("/results/no-content-unannotated", method="DELETE", max_concurrency=20, status_code=204)
async def no_content_unannotated():  # type: ignore[no-untyped-def]
    """Return something that is not sent."""
    return {"some": "thing"}


@queued("/results/not-modified", max_concurrency=20, status_code=304)
async def not_modified() -> None:
    """Return nothing new."""

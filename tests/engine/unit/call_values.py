"""Values of every kind that a handler may take, and what carries them to one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Body, Cookie, Header, Query
from pydantic import AliasChoices, Base64Bytes, BaseModel, ConfigDict, Field, Json, RootModel, SecretStr
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from floodgate.broker.envelopes import Task, pack_task, unpack_task
from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Handler, Registry, declared_in
from floodgate.gateway.call import CallCodec
from floodgate.gateway.payload import Payload
from floodgate.gateway.request_options import RequestOptions
from floodgate.worker.arguments import handler_calls
from floodgate.worker.resources import Resources
from shared import queued

ZONE = timezone(timedelta(hours=5, minutes=45))
MOMENT = datetime(2024, 2, 29, 12, 30, 15, 123456, ZONE)


class Colour(IntEnum):
    RED = 1


class Size(StrEnum):
    LARGE = "large & wide"


class Part(BaseModel):
    full_name: str = Field(alias="fullName")
    price: Decimal = Decimal("0.10")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    some_words: list[str]


class Hidden(BaseModel):
    password: SecretStr
    internal: str = Field("none", exclude=True)
    born: datetime = Field(default_factory=lambda: datetime(2026, 2, 28, 12, 30, 0, 5, tzinfo=UTC))
    column: int = Field(validation_alias="col")
    either: int = Field(0, validation_alias=AliasChoices("one", "other"))


class Deep(BaseModel):
    parts: list[Part]
    by_key: dict[str, Hidden]
    pair: tuple[Part, int]
    numbers: set[int]
    raw: Base64Bytes
    text: Json[list[int]]
    parent: Deep | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    known: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


Names = RootModel[list[str]]


class Typed(TypedDict):
    a: int
    b: str


@dataclass
class Point:
    x: int
    y: Decimal


class Page(BaseModel):
    limit: int = 10
    words: list[str] = []
    since: date | None = None
    order: str = Field("id", alias="orderBy")


class Deduced(BaseModel):
    limit: int | None = 5


class Traced(BaseModel):
    trace_id: str
    tag_s: list[int] = []
    other: str = Field("", alias="X-Other")


HIDDEN = Hidden(password=SecretStr("p"), internal="kept", col=4, one=5)
DEEP = Deep(
    parts=[Part(fullName="a"), Part(fullName="b", price=Decimal(2))],
    by_key={"k/ü": HIDDEN},
    pair=(Part(fullName="c"), 1),
    numbers={1, 2},
    raw=b"",
    text="[1, 2]",
)
DEEP.raw = b"\xff\x00"
DEEP.parent = DEEP.model_copy()


TEXTS = ["", " a b ", "a/b?c=d&e#f;g", "+%2F%", "ü – 漢字 🎉", 'q"u\\o,te', "line\nbreak"]
PLAIN = [
    (int, -(10**30)),
    (bool, True),
    (bool, False),
    (float, 1.5e-7),
    (float, math.inf),
    (Decimal, Decimal("1.10")),
    (datetime, MOMENT),
    (date, date(2024, 2, 29)),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=-1, microseconds=7)),
    (UUID, UUID(int=7)),
    (Colour, Colour.RED),
    (Size, Size.LARGE),
    (Literal["a", "b"], "b"),
    (bytes, b"ascii"),
    (Base64Bytes, b"\xff\x00"),
    (SecretStr, SecretStr("s3cret")),
    (IPv4Address, IPv4Address("10.0.0.1")),
    (FilePath, FilePath("/a/b")),
    (int | None, 5),
    (Annotated[int, Field(ge=1)], 1),
]
IN_BODY = [
    (Part, Part(fullName="ü", price=Decimal("1.50"))),
    (Camel, Camel(some_words=["a"])),
    (Hidden, HIDDEN),
    (Deep, DEEP),
    (Open, Open(known=1, strange={"a": [1]})),
    (list[Part], [Part(fullName="a"), Part(fullName="b")]),
    (dict[str, Hidden], {"ü": HIDDEN}),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Dog(name="rex")),
    (Names, Names(["a", "b"])),
    (Typed, Typed(a=1, b="b")),
    (Point, Point(1, Decimal("0.1"))),
    (Part | None, None),
    (Part | None, Part(fullName="a")),
    (Any, {"a": [1, None, "ü"]}),
    (dict[UUID, list[datetime]], {UUID(int=1): [MOMENT]}),
]
ONE_PARAMETER = [
    *((Annotated[str, Query()], text) for text in TEXTS),
    *((Annotated[kind, Query()], value) for kind, value in PLAIN),
    (Annotated[list[int], Query()], [1, 2, 2]),
    (Annotated[list[str], Query()], ["a,b", "", "c"]),
    (Annotated[set[Colour], Query()], {Colour.RED}),
    (Annotated[tuple[int, str], Query()], (1, "a")),
    (Annotated[list[datetime] | None, Query()], [MOMENT]),
    (Annotated[int, Query(alias="from")], 1),
    (Annotated[int, Query(validation_alias=AliasChoices("first", "second"))], 1),
    (Annotated[Json[list[int]], Query()], [1, 2]),
    (Annotated[Page, Query()], Page(limit=1, words=["a", "b"], since=date(2024, 1, 1), orderBy="name")),
    (Annotated[Page, Query()], Page(since=None)),
    *((Annotated[kind, Header()], value) for kind, value in PLAIN),
    (Annotated[str, Header()], "é, latin; text"),
    (Annotated[str, Header(alias="X-Some-Name")], "a"),
    (Annotated[str, Header(convert_underscores=False)], "a"),
    (Annotated[list[str], Header()], ["a, b", "c"]),
    (Annotated[Traced, Header()], Traced(trace_id="a", tag_s=[1, 2])),
    (Annotated[Traced, Header()], Traced(trace_id="a", **{"X-Other": "b"})),
    *((Annotated[kind, Cookie()], value) for kind, value in PLAIN),
    (Annotated[str, Cookie(alias="a-b")], 'a;b, "c" = é'),
    (Annotated[Page, Cookie()], Page(limit=3, orderBy="a;b")),
    *((Annotated[str, Body()], text) for text in TEXTS),
    *((Annotated[kind, Body()], value) for kind, value in PLAIN),
    *((Annotated[kind, Body(embed=True)], value) for kind, value in PLAIN),
    *((Annotated[kind, Body()], value) for kind, value in IN_BODY),
    *((Annotated[kind, Body(embed=True)], value) for kind, value in IN_BODY),
    (Annotated[bytes, Body(media_type="application/octet-stream")], b"\xff\x00"),
    (Annotated[bytes, Body(media_type="text/csv")], b"a;b"),
    (Annotated[str, Body(media_type="text/plain")], "ü"),
]


def handler_of(function: Callable[..., Any], path: str = "/x", method: str = "POST", **options: Any) -> Handler:
    before = len(declared_in(function.__module__))
    queued(path, 1, method=method, **options)(function)
    (handler,) = build_registry(declared_in(function.__module__)[before:], timeout_s=10).handlers
    return handler


def taking(annotation: Any, default: Any = inspect.Parameter.empty) -> Callable[..., Any]:
    """Return a handler with one parameter."""

    async def handler(**_: Any) -> None: ...

    only = inspect.Parameter("some_value", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
    handler.__signature__ = inspect.Signature([only])  # type: ignore[attr-defined]
    return handler


async def arrived(handler: Handler, payload: Payload) -> dict[str, Any]:
    """Return what the handler is given in a worker."""
    sent = Task(
        *(0, handler.route, "l", "i", 1, "f", 8, 1, "id", None),
        payload.path,
        payload.query,
        payload.headers,
        payload.body,
    )
    task = unpack_task(pack_task(sent))
    registry = Registry((handler,), "")
    return await handler_calls(registry, Resources([]))[handler.route].arguments(task)


async def sent_through(annotation: Any, value: Any, path: str = "/x", default: Any = inspect.Parameter.empty) -> Any:
    handler = handler_of(taking(annotation, default), path)
    payload = CallCodec(handler).payload({"some_value": value}, "id", None, RequestOptions(1000))
    return (await arrived(handler, payload))["some_value"]

"""What `call` sends arrives as the values it was given; what cannot is refused before it is sent."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import Body, Cookie, Header, Path, Query
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, Secret, SecretStr, field_validator

from floodgate.declare.registry import Registry
from floodgate.declare.typed_arguments import TYPED
from floodgate.gateway.call import CallCodec, CallCodecs
from floodgate.gateway.payload import Payload
from floodgate.gateway.request_options import RequestOptions
from shared import Context
from tests.engine.unit.call_values import (
    HIDDEN,
    ONE_PARAMETER,
    PLAIN,
    TEXTS,
    Deduced,
    Hidden,
    Part,
    arrived,
    handler_of,
    sent_through,
    taking,
)


@pytest.mark.parametrize(("annotation", "value"), ONE_PARAMETER, ids=repr)
async def test_a_value_arrives_equal(annotation: Any, value: Any) -> None:
    got = await sent_through(annotation, value)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(("annotation", "value"), [*((str, text) for text in TEXTS), *PLAIN], ids=repr)
async def test_a_value_in_the_path_arrives_equal(annotation: Any, value: Any) -> None:
    got = await sent_through(Annotated[annotation, Path()], value, "/x/{some_value:path}/y")
    assert got == value
    assert type(got) is type(value)


async def everywhere(
    path: str, query: Annotated[str, Query()], body: Annotated[str, Body()], cookie: Annotated[str, Cookie()]
) -> None: ...


EVERYWHERE = handler_of(everywhere, "/{path}")


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="latin-1")))
async def test_any_text_arrives_equal_in_path_query_and_body_and_any_latin_one_in_a_cookie(
    text: str, latin: str
) -> None:
    given_values = {"path": text, "query": text, "body": text, "cookie": latin}
    payload = CallCodec(EVERYWHERE).payload(given_values, "id", None, RequestOptions(1000))
    assert await arrived(EVERYWHERE, payload) == given_values


async def test_many_parameters_of_all_kinds_arrive_equal() -> None:
    async def everything(
        name: str,
        part: Part,
        hidden: Hidden,
        ctx: Context,
        tags: Annotated[list[str], Query(alias="tag")],
        trace: Annotated[str, Header()],
        session: Annotated[str, Cookie()],
        count: Annotated[int, Body()] = 1,
        limit: int = 5,
    ) -> None: ...

    handler = handler_of(everything, "/{name}", "PUT")
    given_values = {
        "name": "a/b",
        "part": Part(fullName="x"),
        "hidden": HIDDEN,
        "tags": ["a", "b"],
        "trace": "t",
        "session": "s;",
        "count": 3,
    }
    payload = CallCodec(handler).payload(given_values, "id", None, RequestOptions(1000))
    assert await arrived(handler, payload) == {**given_values, "limit": 5}


async def test_what_was_not_set_is_not_set_on_arrival() -> None:
    got = await sent_through(Part, Part(fullName="a"))
    assert got.model_fields_set == {"full_name"}


async def test_a_value_that_validation_makes_one_of_is_taken() -> None:
    assert await sent_through(Part, {"fullName": "a"}) == Part(fullName="a")
    assert await sent_through(Annotated[Decimal, Query()], 1) == Decimal(1)
    assert await sent_through(Annotated[UUID, Query()], str(UUID(int=1))) == UUID(int=1)


@pytest.mark.parametrize(
    ("annotation", "value", "default"),
    [
        (Annotated[list[int] | None, Query()], None, None),
        (Annotated[list[int] | None, Query()], [], []),
        (Annotated[list[int] | None, Query()], [1], [1]),
        (Annotated[int | None, Query()], None, 5),
        (Annotated[list[int], Query()], [], [1]),
        (Annotated[list[int], Query()], [], inspect.Parameter.empty),
        (Annotated[list[int | None], Query()], [None], inspect.Parameter.empty),
        (Annotated[str, Header()], "漢", inspect.Parameter.empty),
        (Annotated[str, Cookie()], "漢", inspect.Parameter.empty),
        (Annotated[bytes, Body(embed=True)], b"\xff", inspect.Parameter.empty),
        (Annotated[bytes, Body()], b"", inspect.Parameter.empty),
        (Annotated[Deduced, Query()], Deduced(limit=None), inspect.Parameter.empty),
    ],
    ids=repr,
)
async def test_what_http_cannot_say_arrives_equal(annotation: Any, value: Any, default: Any) -> None:
    assert await sent_through(annotation, value, default=default) == value


@pytest.mark.parametrize(
    ("annotation", "value", "default"),
    [
        (Annotated[str, Query()], "\ud800", inspect.Parameter.empty),
        (Annotated[str, Body()], "\ud800", inspect.Parameter.empty),
        (Annotated[int, Query()], "many", inspect.Parameter.empty),
        (Part, {"price": 1}, inspect.Parameter.empty),
    ],
    ids=repr,
)
async def test_what_cannot_arrive_equal_is_refused_before_it_is_sent(annotation: Any, value: Any, default: Any) -> None:
    handler = handler_of(taking(annotation, default))
    with pytest.raises(TypeError, match=r"some_value|codec"):
        CallCodec(handler).payload({"some_value": value}, "id", None, RequestOptions(1000))


async def test_a_path_that_is_no_text_is_refused() -> None:
    handler = handler_of(taking(str), "/{some_value}")
    with pytest.raises(TypeError, match="surrogates"):
        CallCodec(handler).payload({"some_value": "\ud800"}, "id", None, RequestOptions(1000))


async def test_unknown_and_missing_arguments_are_named() -> None:
    async def place(part: Part, note: str = "") -> None: ...

    codec = CallCodec(handler_of(place))
    with pytest.raises(TypeError, match="place has no colour that a request fills; it has: note, part"):
        codec.payload({"part": Part(fullName="a"), "colour": 1}, "id", None, RequestOptions(1000))
    with pytest.raises(TypeError, match="place needs part"):
        codec.payload({"note": "a"}, "id", None, RequestOptions(1000))


async def test_a_function_that_is_not_queued_is_a_lookup_error() -> None:
    with pytest.raises(LookupError, match="arrived is not queued"):
        CallCodecs(Registry((), "")).find(arrived)


async def test_a_parameter_called_request_needs_an_alias() -> None:
    async def clashing(request: str) -> None: ...

    async def renamed(asked: Annotated[str, Query(alias="request")]) -> None: ...

    with pytest.raises(TypeError, match="alias='request'"):
        CallCodec(handler_of(clashing))
    handler = handler_of(renamed)
    payload = CallCodec(handler).payload({"asked": "a"}, "id", None, RequestOptions(1000))
    assert await arrived(handler, payload) == {"asked": "a"}


async def test_the_level_is_that_of_the_arguments_and_defaults() -> None:
    async def counted(n: int, factor: Annotated[int, Query()] = 2) -> None: ...

    codec = CallCodec(handler_of(counted, level=lambda n, factor: n * factor))
    assert codec.payload({"n": 3}, "id", None, RequestOptions(1000)).level == 6
    assert codec.payload({"n": 3, "factor": 1}, "id", None, RequestOptions(1000)).level == 3


class Stamped(BaseModel):
    """A validator of its own, which runs again on arrival."""

    text: str

    @field_validator("text")
    @classmethod
    def trimmed(cls, text: str) -> str:
        return text.strip()


async def test_validators_run_on_arrival() -> None:
    assert await sent_through(Stamped, Stamped.model_construct(text=" a ")) == Stamped(text="a")


@dataclass
class Login:
    """A dataclass of the standard library, of which pydantic keeps no fields."""

    name: str
    password: SecretStr


async def test_secrets_arrive_as_secrets_wherever_they_stand() -> None:
    password = SecretStr("s3cret")
    for annotation, value in [
        (Annotated[SecretStr, Header()], password),
        (Annotated[dict[str, list[SecretStr]], Body()], {"a": [password]}),
        (Annotated[Login, Body()], Login("me", password)),
        (Annotated[Secret[date], Body()], Secret(date(2026, 1, 2))),
        (Annotated[SecretStr | None, Query()], password),
    ]:
        got = await sent_through(annotation, value)
        assert got == value
        assert "s3cret" not in repr(got)


class Hides(BaseModel):
    """A model that is hidden whole, with names of its own for fields and a secret among them."""

    number: int = Field(alias="theNumber")
    password: SecretStr


class Holding(BaseModel):
    left_out: Hides = Field(exclude=True)
    secret: Secret[Hides]


async def test_what_is_hidden_whole_arrives_with_its_aliases_and_secrets() -> None:
    value = Hides(theNumber=1, password=SecretStr("s3cret"))
    got = await sent_through(Annotated[Holding, Body()], Holding(left_out=value, secret=Secret(value)))
    assert got.left_out == value
    assert got.secret.get_secret_value() == value


async def test_bytes_stay_as_they_are_beside_a_value_that_validation_makes_something_of() -> None:
    async def both(day: date, raw: Annotated[bytes, Body()]) -> None: ...

    handler = handler_of(both)
    payload = CallCodec(handler).payload({"day": "2026-01-02", "raw": b"abcd"}, "id", None, RequestOptions(1000))
    assert await arrived(handler, payload) == {"day": date(2026, 1, 2), "raw": b"abcd"}


def test_no_request_can_pretend_to_be_a_call() -> None:
    (name, _), *_ = TYPED
    assert not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)  # what RFC 9110 calls a token


async def test_typed_arguments_that_do_not_fit_are_refused_like_a_request() -> None:
    handler = handler_of(taking(Annotated[int, Query()]))
    payload = Payload("id", RequestOptions(1000), headers=TYPED, body=b'{"some_value": "many"}')
    with pytest.raises(RequestValidationError):
        await arrived(handler, payload)

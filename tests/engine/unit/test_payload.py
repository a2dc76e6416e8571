"""Of a request only what its handler declares travels to the worker, raw as it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Body, Cookie, Header, Query, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from floodgate.errors import DeclarationError
from floodgate.gateway.middleware import SCOPE_KEY, RequestRecord
from floodgate.gateway.payload import Payload, PayloadBuilder
from tests.engine.conformance.sealed import sealed

HEADERS = (
    (b"authorization", b"secret"),
    (b"content-type", b"application/json"),
    (b"x-tag", b"1"),
    (b"x-tag", b"2"),
    (b"x_tag", b"3"),
    (b"x-other", b"4"),
    (b"cookie", b"session=secret; theme=dark; theme=light"),
    (b"cookie", b"lang=de"),
)


class Tags(BaseModel):
    """Headers or cookies as a model."""

    x_tag: list[str] = []
    other: str = Field("none", alias="x-other")
    theme: str = "none"


class ByName(BaseModel):
    """A model that reads a field by its name, too."""

    model_config = ConfigDict(validate_by_name=True)

    theme: str = Field("none", alias="look")


class Everything(Tags):
    """A model that keeps what it does not know."""

    model_config = ConfigDict(extra="allow")


async def payload(function: Callable[..., Any], path: str = "/a", method: str = "GET", level: int = 0) -> Payload:
    (handler,) = sealed(function, path, method=method).handlers
    scope = {
        "type": "http",
        "query_string": b"a=%C3%A4&b=+",
        "headers": list(HEADERS),
        "path_params": {"n": 7, "rest": "a/b"},
        SCOPE_KEY: RequestRecord("id"),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"\xff{}", "more_body": False}

    return await PayloadBuilder(handler).payload(Request(scope, receive), level)


async def picked(*annotations: Any) -> list[tuple[bytes, bytes]]:
    async def handler(a: Any = None, b: Any = None) -> None: ...

    handler.__annotations__.update(zip("ab", annotations, strict=False))
    return list((await payload(handler)).headers)


def header(*names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in HEADERS if name in names]


async def test_a_handler_without_parameters_gets_nothing() -> None:
    async def handler() -> None: ...

    nothing = await payload(handler)
    assert (nothing.query, nothing.headers, nothing.body) == ("", (), b"")


async def test_query_path_and_body_travel_as_they_came() -> None:
    async def handler(n: int, rest: str, a: str, body: Annotated[bytes, Body()]) -> None: ...

    found = await payload(handler, "/a/{n}/{rest:path}", "POST")
    assert found.path == {"n": "7", "rest": "a/b"}
    assert found.query == "a=%C3%A4&b=+"
    assert found.body == b"\xff{}"
    assert list(found.headers) == header(b"content-type")


async def test_declared_headers_travel_as_often_as_they_came() -> None:
    assert await picked(Annotated[str, Header(alias="X-Tag")]) == header(b"x-tag")
    assert await picked(Annotated[str, Header(validation_alias="x-other")]) == header(b"x-other")
    assert await picked(Annotated[str, Header(alias="x_tag", convert_underscores=False)]) == header(b"x_tag")


async def test_a_header_is_looked_for_under_every_alias() -> None:
    assert await picked(Annotated[str, Header(validation_alias=AliasChoices("x-none", "x-other"))]) == header(
        b"x-other"
    )


async def test_a_model_takes_its_fields_and_no_other_header() -> None:
    assert await picked(Annotated[Tags, Header()]) == header(b"x-tag", b"x_tag", b"x-other")
    assert await picked(Annotated[Tags | None, Header()]) == header(b"x-tag", b"x_tag", b"x-other")


async def test_a_model_that_keeps_the_unknown_takes_all_headers() -> None:
    assert await picked(Annotated[Everything, Header()]) == list(HEADERS)


async def test_only_declared_cookies_travel() -> None:
    assert await picked(Annotated[str, Cookie()]) == []
    assert await picked(Annotated[str, Cookie(alias="lang")]) == [(b"cookie", b" lang=de".strip())]
    assert await picked(Annotated[str, Cookie(validation_alias="theme")]) == [(b"cookie", b" theme=dark; theme=light")]


async def test_a_model_takes_its_fields_and_no_other_cookie() -> None:
    themes = [(b"cookie", b" theme=dark; theme=light")]
    assert await picked(Annotated[Tags, Cookie()]) == themes
    assert await picked(Annotated[ByName, Cookie()]) == themes
    assert await picked(Annotated[Everything, Cookie()]) == header(b"cookie")


async def test_who_asks_for_the_cookie_header_gets_it_once() -> None:
    found = await picked(Annotated[str, Header(alias="Cookie")], Annotated[str, Cookie(alias="lang")])
    assert found == header(b"cookie")


async def test_a_comparison_is_a_level_of_0_or_1() -> None:
    async def handler() -> None: ...

    assert repr((await payload(handler, level=True)).level) == "1"


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Annotated[int, Query(5)], ...),
        (Annotated[int, Query()], Query(5)),
        (Annotated[dict[str, int], Query()], None),
        (Annotated[list[Tags], Query()], None),
    ],
    ids=str,
)
def test_what_fastapi_cannot_read_is_a_mistake_in_the_declaration(annotation: Any, default: Any) -> None:
    async def handler(x: int = default) -> None: ...

    handler.__annotations__["x"] = annotation
    if default is ...:
        handler.__defaults__ = ()
    with pytest.raises(DeclarationError, match=r"sealed\.py:\d+: handler: .*'x'"):
        PayloadBuilder(sealed(handler).handlers[0])

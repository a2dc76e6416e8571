"""Every mistake in a declaration is found when the registry is built, with file, line and the repair."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Header, Query
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Registry, declared_in
from floodgate.errors import DeclarationError
from shared import Context, Rate, queued


def built(function: Callable[..., Any], /, *arguments: Any, **parameters: Any) -> Registry:
    before = len(declared_in(__name__))
    queued(*arguments, **parameters)(function)
    return build_registry(declared_in(__name__)[before:], timeout_s=10)


async def hello(x: int = 1) -> str:
    return str(x)


def test_the_decorator_returns_the_same_function() -> None:
    assert queued("/same", 1)(hello) is hello


def test_defaults_follow_the_method() -> None:
    (get,) = built(hello, "/a", 5).handlers
    (post,) = built(hello, "/a", 5, method="post").handlers
    assert (get.attempts, get.timeout_s, get.kind, get.idempotent) == (2, 10, "a", True)
    assert (post.attempts, post.method, post.idempotent) == (1, "POST", False)


def test_the_context_is_no_parameter_of_the_request() -> None:
    async def handler(x: int, ctx: Context) -> None: ...

    (found,) = built(handler, "/a", 5).handlers
    assert found.context_name == "ctx"
    assert list(found.signature.parameters) == ["x"]


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def any_number(*xs: int) -> None: ...


class First(BaseModel):
    """A text."""

    n: int = Field(1, description="a text")


class Shop:
    async def open(self, day: int) -> None: ...

    @staticmethod
    async def close(day: int) -> None: ...


def untravelable(x: object = None, y: Callable[[], int] = lambda: 1) -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments", "parameters", "text"),
    [
        (hello, ("/a", 0), {}, "at least 1"),
        (hello, ("/a", True), {}, "whole number"),
        (hello, ("/a", 1), {"level": 10}, "from 0 to 9"),
        (hello, ("/a", 1), {"level": -1}, "from 0 to 9"),
        (hello, ("/a", 1), {"attempts": 0}, "attempts"),
        (hello, ("/a", 1), {"timeout_s": 0}, "timeout_s"),
        (hello, ("/a", 1), {"method": "TRACE"}, "one of"),
        (hello, ("a", 1), {}, "starts with"),
        (hello, ("/-/mine", 1), {}, "belong to the engine"),
        (hello, ("/{name}", 1), {}, "no such parameter"),
        (hello, ("/a", 1), {"rates": 5}, "knows no parameter rates"),
        (hello, ("/a", 1), {"rate": 5}, "a bucket of at least 1"),
        (hello, ("/a", 1), {"rate": Rate(0, 1)}, "a bucket of at least 1"),
        (hello, ("/a", 1), {"priority": "vip"}, "one of critical, default"),
        (hello, ("/a", 1), {"tenant": ""}, "tenant"),
        (hello, ("/a", 1), {"max_running": 0}, "max_running"),
        (hello, ("/a", 1), {"async_timeout_s": 1e9}, "up to 7000"),
        (hello, ("/tasks/mine", 1), {}, "belong to the engine"),
        (hello, ("/docs", 1), {}, "FastAPI itself answers /docs"),
        (Shop.open, ("/a", 1), {}, "a method cannot be queued"),
        (generator, ("/a", 1), {"response_class": JSONResponse}, "EventSourceResponse"),
        (generator, ("/a", 1), {"stream_s": 0}, "above 0"),
        (generator, ("/a", 1), {"stream_s": 8000}, "at most 7000"),
        (generator, ("/a", 1), {"stream_idle_s": "30"}, "above 0"),
        (generator, ("/a", 1), {"stream_s": 5, "timeout_s": 6}, "at least as long"),
        (generator, ("/a", 1), {"timeout_s": 61}, "at least as long"),
        (generator, ("/a", 1), {"resumable": 1, "response_class": EventSourceResponse}, "True or False"),
        (generator, ("/a", 1), {"resumable": True}, "response_class=EventSourceResponse"),
        (generator, ("/a", 1), {"resume_s": 5}, "resumable=True"),
        (generator, ("/a", 1), {"method": "HEAD"}, "no body"),
        (generator, ("/a", 1), {"status_code": 204}, "no body"),
        (generator, ("/a", 1), {"media_type": "text/csv"}, "response_class=StreamingResponse"),
        (async_generator, ("/a", 1), {"media_type": "a/b", "response_class": EventSourceResponse}, "event-stream"),
        (async_generator, ("/a", 1), {"async_timeout_s": 60}, "resumable=True"),
        (generator, ("/a", 1), {"tags": "shop"}, "a list of texts"),
        (hello, ("/a", 1), {"response_class": StreamingResponse}, "response_class goes with a generator"),
        (hello, ("/a", 1), {"stream_s": 60, "resume_s": 5}, "stream_s, resume_s goes with a generator"),
        (any_number, ("/a", 1), {}, "name each parameter"),
        (untravelable, ("/a", 1), {}, "cannot travel"),
        (First, ("/a", 1), {}, "plain functions"),
    ],
)
def test_a_mistake_names_file_line_and_repair(
    function: Callable[..., Any], arguments: tuple[Any, ...], parameters: dict[str, Any], text: str
) -> None:
    with pytest.raises(DeclarationError, match=r"test_checks\.py:\d+: .*" + text):
        built(function, *arguments, **parameters)


def test_a_function_that_a_class_only_holds_is_taken() -> None:
    (handler,) = built(Shop.close, "/closing", 1).handlers
    assert list(handler.signature.parameters) == ["day"]


def picture() -> bytes: ...  # type: ignore[empty-body]


async def limited(x: int = Query(1, ge=1), y: Annotated[str, Header(alias="x-y")] = "a") -> First: ...  # type: ignore[empty-body]


async def async_level(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("function", "parameters", "text"),
    [
        (hello, {"level": lambda y: y}, "asks for y; it may take these: x"),
        (hello, {"level": lambda *xs: 1}, "asks for xs"),
        (hello, {"level": eval("lambda x, /: x")}, "asks for x"),
        (hello, {"level": async_level}, "level function is async"),
        (hello, {"level": dict}, "level function"),
        (hello, {"level": "3"}, "level is '3'"),
        (hello, {"status_code": 199}, "200 to 599"),
        (hello, {"status_code": "200"}, "200 to 599"),
        (hello, {"status_code": 204}, "a 204 has no body; annotate the function `-> None`"),
        (hello, {"media_type": 5}, "media_type is 5"),
        (limited, {"media_type": "text/csv"}, "returns bytes or str"),
        (picture, {}, "media_type='application/octet-stream'"),
        (picture, {"media_type": "application/json"}, "needs a media_type"),
        (hello, {"tags": "one"}, "list of texts"),
        (hello, {"tags": [1]}, "list of texts"),
        (hello, {"tags": 5}, "list of texts"),
        (hello, {"examples": [1]}, "mapping of parameter to list"),
        (hello, {"examples": {"x": 1}}, "mapping of parameter to list"),
        (hello, {"examples": {"y": [1]}}, "names 'y', which no request fills"),
        (hello, {"examples": {"x": [1, "two"]}}, "the example 'two' of 'x' is not valid"),
        (limited, {"examples": {"x": [0]}}, "the example 0 of 'x' is not valid: .*greater than or equal to 1"),
        (limited, {"examples": {"y": [0]}}, "the example 0 of 'y' is not valid"),
        (untravelable, {"examples": {"y": [0]}}, "cannot travel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_presentation_or_the_level_names_the_repair(
    function: Callable[..., Any], parameters: dict[str, Any], text: str
) -> None:
    with pytest.raises(DeclarationError, match=r"test_checks\.py:\d+: .*" + text):
        built(function, "/a", 1, **parameters)


def test_a_level_function_takes_any_of_the_arguments_and_the_handler_has_every_level() -> None:
    (handler,) = built(limited, "/a", 1, level=lambda y, x: x).handlers
    assert list(handler.levels) == list(range(10))
    assert handler.level_of({"x": 3, "y": "b"}) == 3
    for outside in (-1, 10, 2.0, None):
        with pytest.raises(ValueError, match="not 0 to 9"):
            handler.level_of({"x": outside, "y": "b"})


def test_two_handlers_for_one_method_and_path_are_one_too_many() -> None:
    before = len(declared_in(__name__))
    queued("/twice/{x}", 1)(hello)
    queued("/twice/{x}", 1)(hello)
    with pytest.raises(DeclarationError, match="already declared at"):
        build_registry(declared_in(__name__)[before:], timeout_s=10)


def test_texts_limits_and_levels_leave_the_release_digest_as_it_is_and_types_change_it() -> None:
    async def one(x: Annotated[int, Field(ge=1, description="one")]) -> First: ...  # type: ignore[empty-body]
    async def other(x: Annotated[int, Field(ge=1, description="other")]) -> First: ...  # type: ignore[empty-body]
    async def narrower(x: Annotated[int, Field(ge=2)]) -> First: ...  # type: ignore[empty-body]
    def in_a_thread(x: Annotated[int, Field(ge=1)]) -> First: ...  # type: ignore[empty-body]

    first = built(one, "/c", 5)
    assert built(other, "/c", 7, level=3).release_digest == first.release_digest
    assert built(narrower, "/c", 5).release_digest != first.release_digest
    assert built(in_a_thread, "/c", 5).release_digest != first.release_digest
    assert built(narrower, "/c", 5).handlers[0].route == first.handlers[0].route

"""Every mistake in a declaration is found when the registry is sealed, with file, line and the mend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from shared import Context, Rate, queued
from shared.errors import DeclarationError
from shared.registry import Registry, declared_in
from shared.sealing import seal


def sealed(function: Callable[..., Any], /, *arguments: Any, **parameters: Any) -> Registry:
    before = len(declared_in(__name__))
    queued(*arguments, **parameters)(function)
    return seal(declared_in(__name__)[before:], timeout_s=10)


async def hello(x: int = 1) -> str:
    return str(x)


def test_the_decorator_returns_the_same_function() -> None:
    assert queued("/same", 1)(hello) is hello


def test_defaults_follow_the_method() -> None:
    (get,) = sealed(hello, "/a", 5).handlers
    (post,) = sealed(hello, "/a", 5, method="post").handlers
    assert (get.attempts, get.timeout_s, get.kind, get.idempotent) == (2, 10, "a", True)
    assert (post.attempts, post.method, post.idempotent) == (1, "POST", False)


def test_the_context_is_no_parameter_of_the_request() -> None:
    async def handler(x: int, ctx: Context) -> None: ...

    (found,) = sealed(handler, "/a", 5).handlers
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
        (generator, ("/a", 1), {}, "generator"),
        (async_generator, ("/a", 1), {}, "generator"),
        (any_number, ("/a", 1), {}, "name each parameter"),
        (untravelable, ("/a", 1), {}, "cannot travel"),
        (First, ("/a", 1), {}, "plain functions"),
    ],
)
def test_a_mistake_names_file_line_and_mend(
    function: Callable[..., Any], arguments: tuple[Any, ...], parameters: dict[str, Any], text: str
) -> None:
    with pytest.raises(DeclarationError, match=r"test_sealing\.py:\d+: .*" + text):
        sealed(function, *arguments, **parameters)


def test_two_handlers_for_one_method_and_path_are_one_too_many() -> None:
    before = len(declared_in(__name__))
    queued("/twice/{x}", 1)(hello)
    queued("/twice/{x}", 1)(hello)
    with pytest.raises(DeclarationError, match="already declared at"):
        seal(declared_in(__name__)[before:], timeout_s=10)


def test_texts_limits_and_levels_leave_the_contract_as_it_is_and_types_change_it() -> None:
    async def one(x: Annotated[int, Field(ge=1, description="one")]) -> First: ...  # type: ignore[empty-body]
    async def other(x: Annotated[int, Field(ge=1, description="other")]) -> First: ...  # type: ignore[empty-body]
    async def narrower(x: Annotated[int, Field(ge=2)]) -> First: ...  # type: ignore[empty-body]
    def in_a_thread(x: Annotated[int, Field(ge=1)]) -> First: ...  # type: ignore[empty-body]

    first = sealed(one, "/c", 5)
    assert sealed(other, "/c", 7, level=3).contract == first.contract
    assert sealed(narrower, "/c", 5).contract != first.contract
    assert sealed(in_a_thread, "/c", 5).contract != first.contract
    assert sealed(narrower, "/c", 5).handlers[0].route == first.handlers[0].route

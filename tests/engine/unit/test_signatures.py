"""What a handler may not ask for is refused when it is declared, with the way to do it instead."""

from __future__ import annotations
import __future__

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import Query
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from floodgate.errors import DeclarationError
from shared import Context, Reply, Resource
from tests.engine.conformance import refused
from tests.engine.conformance.sealed import sealed


def evaluated_later(module: ModuleType) -> ModuleType:
    """Return the same module as if it began with `from __future__ import annotations`."""
    assert module.__file__ is not None
    text = Path(module.__file__).read_text()
    later = ModuleType("evaluated_later")
    exec(compile(text, module.__file__, "exec", __future__.annotations.compiler_flag, dont_inherit=True), vars(later))
    return later


def functions_of(module: ModuleType) -> list[Callable[..., Any]]:
    found = inspect.getmembers(module, inspect.isfunction)
    return [function for _, function in found if function.__module__ == module.__name__ and function.__doc__]


AT_ONCE = functions_of(refused)
LATER = functions_of(evaluated_later(refused))


@pytest.mark.parametrize(
    "function", [*AT_ONCE, *LATER], ids=lambda f: f"{f.__name__} {f.__module__.rpartition('.')[2]}"
)
def test_what_cannot_travel_is_refused_with_place_and_mend(function: Callable[..., Any]) -> None:
    instead = re.escape(function.__doc__ or "")
    with pytest.raises(DeclarationError, match=rf"sealed\.py:\d+: {function.__qualname__}: .*{instead}"):
        sealed(function)


def test_annotations_of_the_second_reading_were_texts() -> None:
    (upload,) = [function for function in LATER if function.__name__ == "upload"]
    assert upload.__annotations__ == {"file": "UploadFile", "return": "None"}


def test_a_websocket_is_refused_with_the_way_to_do_it_instead() -> None:
    with pytest.raises(DeclarationError, match=r"gateway_app/main\.py that uses `call`"):
        sealed(hello, method="websocket")


@pytest.mark.parametrize("annotation", ["NoSuchName", "Query.nothing", "1 +", "list[int](7)", "1 / 0"])
def test_an_annotation_that_cannot_be_evaluated_is_refused(annotation: str) -> None:
    def handler(x: int) -> None: ...

    handler.__annotations__["x"] = annotation
    with pytest.raises(DeclarationError, match="cannot be resolved"):
        sealed(handler)


def test_what_stands_in_braces_is_spelled_like_a_variable() -> None:
    with pytest.raises(DeclarationError, match=r"\{item-id\}.* spelled like a variable"):
        sealed(hello, "/items/{item-id}")


class Made(BaseModel):
    """A result."""

    n: int


Page = TypeAliasType("Page", Annotated[int, Query(ge=1)])
Pool = TypeAliasType("Pool", Annotated[object, Resource("pools:open")])
Answer = TypeAliasType("Answer", Reply[Made])


async def hello(x: int = 1) -> str:
    return str(x)


async def aliased(page: Page, pool: Pool) -> Answer:
    raise NotImplementedError


def test_type_aliases_are_what_they_stand_for() -> None:
    (handler,) = sealed(aliased).handlers
    assert list(handler.signature.parameters) == ["page"]
    assert list(handler.resources) == ["pool"]
    assert handler.result is Made


def test_context_and_resources_are_no_parameters_of_the_request() -> None:
    async def handler(x: int, ctx: Context, pool: Annotated[object, Resource("pools:open")], *, y: int = 2) -> None: ...

    (found,) = sealed(handler).handlers
    assert found.context_name == "ctx"
    assert list(found.resources) == ["pool"]
    assert list(found.signature.parameters) == ["x", "y"]


def test_a_marker_that_is_a_default_is_not_the_users_own_since_fastapi_writes_into_it() -> None:
    shared = Query(ge=1)

    async def handler(x: int = shared, y: int = shared) -> None: ...

    (found,) = sealed(handler).handlers
    defaults = [parameter.default for parameter in found.signature.parameters.values()]
    assert defaults[0] is not defaults[1]
    assert shared not in defaults


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (None, type(None)),
        (inspect.Signature.empty, inspect.Signature.empty),
        (Reply, inspect.Signature.empty),
        (Reply[Made], Made),
        (Reply[None], type(None)),
        (Made | Reply[Made], Made),
        (Made | Reply[list[Made]] | None, Made | None | list[Made]),
        (Made | Reply, inspect.Signature.empty),
        (Annotated[Reply[Made], "shown"], Annotated[Made, "shown"]),
    ],
    ids=str,
)
def test_the_result_is_the_annotation_without_reply(annotation: Any, result: Any) -> None:
    async def handler():  # type: ignore[no-untyped-def]
        raise NotImplementedError

    if annotation is not inspect.Signature.empty:
        handler.__annotations__["return"] = annotation
    (found,) = sealed(handler).handlers
    assert found.result in (result, None if result is type(None) else result)

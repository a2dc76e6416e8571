"""Routes have equal signature digests exactly when one's gateway and the other's worker understand each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fastapi import Body, Cookie, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from floodgate.broker.envelopes import VERSION
from floodgate.declare.typed_arguments import dependant_of
from tests.engine.conformance.sealed import sealed

ROOT = Path(__file__).parents[3]


def digest(*annotations: Any, default: Any = ..., result: Any = None, **presented: Any) -> str:
    """Return the signature digest of a handler whose parameters a, b, … are annotated so."""
    names = "abc"[: len(annotations)]
    namespace: dict[str, Any] = {"default": default}
    equals = "" if default is ... else "=default"
    exec(f"async def handler({', '.join(f'{name}{equals}' for name in names)}): ...", namespace)
    handler = namespace["handler"]
    handler.__annotations__.update(zip(names, annotations, strict=True), **{"return": result})
    handler.__module__ = __name__
    return sealed(handler, **presented).handlers[0].signature_digest


def model(**fields: Any) -> type[BaseModel]:
    """Return a model of the same name every time: annotation, or annotation with its field."""
    namespace: dict[str, Any] = {"__annotations__": {}, "__module__": __name__, "__qualname__": "Made"}
    for name, given in fields.items():
        annotation, *rest = given if isinstance(given, tuple) else (given,)
        namespace["__annotations__"][name] = annotation
        if rest:
            namespace[name] = rest[0]
    return type("Made", (BaseModel,), namespace)


INT = digest(int)
DIFFERENT: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "type": (lambda: INT, lambda: digest(float)),
    "constraint": (lambda: digest(Annotated[int, Field(ge=1)]), lambda: digest(Annotated[int, Field(ge=2)])),
    "choices": (lambda: digest(Literal["a", "b"]), lambda: digest(Literal["a", "c"])),
    "number of parameters": (lambda: INT, lambda: digest(int, int)),
    "required or not": (lambda: INT, lambda: digest(int, default=1)),
    "a default marker's factory": (
        lambda: digest(set[int], default=Query()),
        lambda: digest(set[int], default=Query(default_factory=set)),
    ),
    "a factory in Annotated": (
        lambda: digest(Annotated[set[int], Query()]),
        lambda: digest(Annotated[set[int], Query(default_factory=set)]),
    ),
    "default value": (lambda: digest(int, default=1), lambda: digest(int, default=2)),
    "default in a marker": (lambda: digest(int, default=Query(1)), lambda: digest(int, default=Query(2))),
    "query or header": (lambda: digest(Annotated[str, Query()]), lambda: digest(Annotated[str, Header()])),
    "header or cookie": (lambda: digest(Annotated[str, Header()]), lambda: digest(Annotated[str, Cookie()])),
    "header alias": (
        lambda: digest(Annotated[str, Header(alias="x")]),
        lambda: digest(Annotated[str, Header(alias="y")]),
    ),
    "alias of a default": (
        lambda: digest(str, default=Header(alias="x")),
        lambda: digest(str, default=Header(alias="y")),
    ),
    "validation alias": (
        lambda: digest(Annotated[str, Cookie(validation_alias="x")]),
        lambda: digest(Annotated[str, Cookie(validation_alias="y")]),
    ),
    "underscores": (
        lambda: digest(Annotated[str, Header()]),
        lambda: digest(Annotated[str, Header(convert_underscores=False)]),
    ),
    "embedding": (lambda: digest(Annotated[int, Body()]), lambda: digest(Annotated[int, Body(embed=True)])),
    "media type of the answer": (
        lambda: digest(result=bytes, media_type="image/png"),
        lambda: digest(result=bytes, media_type="image/gif"),
    ),
    "result": (lambda: digest(result=int), lambda: digest(result=float)),
    "field": (lambda: digest(model(a=int)), lambda: digest(model(b=int))),
    "field that is called as a text of the schema": (
        lambda: digest(model(title=int)),
        lambda: digest(model(title=str)),
    ),
    "field that is called as a value of the schema": (
        lambda: digest(model(default=int)),
        lambda: digest(model(default=str)),
    ),
    "alias of a field": (
        lambda: digest(model(a=(int, Field(alias="x")))),
        lambda: digest(model(a=(int, Field(alias="y")))),
    ),
    "name of a field with an alias": (
        lambda: digest(model(a=(int, Field(alias="x")))),
        lambda: digest(model(b=(int, Field(alias="x")))),
    ),
    "alias of a result's field": (
        lambda: digest(result=model(a=(int, Field(serialization_alias="x")))),
        lambda: digest(result=model(a=(int, Field(serialization_alias="y")))),
    ),
    "what a model makes of the unknown": (
        lambda: digest(model(a=int)),
        lambda: digest(model(a=int, model_config=(Any, ConfigDict(extra="forbid")))),
    ),
}
EQUAL: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "description": (
        lambda: digest(Annotated[int, Query(description="one")]),
        lambda: digest(Annotated[int, Query(description="other", title="T", deprecated=True, examples=[1])]),
    ),
    "texts of a default marker": (lambda: digest(int, default=Query()), lambda: digest(int, default=Query(title="T"))),
    "texts of fields": (
        lambda: digest(model(default=(int, Field(1, title="one")), title=(str, Field("t", examples=["a"])))),
        lambda: digest(model(default=(int, Field(1, title="other")), title=(str, Field("t", description="a")))),
    ),
    "presentation": (
        lambda: INT,
        lambda: digest(int, tags=["a"], summary="S", deprecated=True, include_in_schema=False, examples={"a": [1]}),
    ),
    "status code": (lambda: INT, lambda: digest(int, status_code=202)),
    "limits": (lambda: INT, lambda: digest(int, timeout_s=3, attempts=5, level=4)),
    "level function": (lambda: INT, lambda: digest(int, level=lambda a: a % 3)),
    "order of a default set": (
        lambda: digest(set[int], default={1, 2, 2**61 + 1}),
        lambda: digest(set[int], default={2**61 + 1, 2, 1}),
    ),
    "default without a JSON form": (lambda: digest(Any, default=object()), lambda: digest(Any, default=object())),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_digests_differ_by(what: str) -> None:
    one, other = DIFFERENT[what]
    assert one() != other()


@pytest.mark.parametrize("what", EQUAL)
def test_digests_do_not_differ_by(what: str) -> None:
    one, other = EQUAL[what]
    assert one() == other()


def test_another_version_of_the_envelope_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floodgate.declare.digest.VERSION", VERSION + 1)
    assert digest(int) != INT


def test_a_sync_function_is_another_digest_than_an_async_one() -> None:
    def handler(a: int) -> None: ...
    async def other(a: int) -> None: ...

    assert sealed(handler).handlers[0].signature_digest != sealed(other).handlers[0].signature_digest


def test_building_again_after_fastapi_has_seen_the_function_gives_the_same_release_digest() -> None:
    async def handler(x_word: str = Header("none"), size: int = Query(1, alias="s")) -> None: ...

    first = sealed(handler)
    assert dependant_of(first.handlers[0]).header_params[0].alias == "x-word"
    assert sealed(handler).release_digest == first.release_digest


def test_every_process_draws_the_same_release_digest_whatever_the_order_of_its_sets() -> None:
    program = (
        "from floodgate.declare.discovery import discover; from floodgate.operations.settings import Settings;"
        "print(discover(Settings(handlers='tests.engine.conformance.handlers')).release_digest)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    digests = {process.communicate(timeout=30)[0] for process in processes}
    assert len(digests) == 1
    assert digests != {""}

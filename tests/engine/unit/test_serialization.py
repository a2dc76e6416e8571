"""What a handler returned or raised becomes a status, one type, its headers and final bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from floodgate.worker.serialization import SerializedResult, Serializer, serialize_error
from shared import HTTPError, Reply
from tests.engine.conformance.sealed import sealed

JSON = (b"content-type", b"application/json")
PNG = (b"content-type", b"image/png")


class Made(BaseModel):
    """A result."""

    n: int


class More(Made):
    """A result that says more than it should."""

    secret: str = "secret"


def made() -> Made: ...  # type: ignore[empty-body]
def untyped(): ...  # type: ignore[no-untyped-def]
def nothing() -> None: ...
def picture() -> bytes: ...  # type: ignore[empty-body]
def table() -> str: ...  # type: ignore[empty-body]


def serialized(function: Callable[..., Any], result: Any, **presented: Any) -> SerializedResult:
    return Serializer(sealed(function, **presented).handlers[0])(result)


def test_a_result_is_serialized_by_its_annotation() -> None:
    assert serialized(made, More(n=1), status_code=201) == SerializedResult(201, (JSON,), b'{"n":1}')
    assert serialized(untyped, More(n=1)).body == b'{"n":1,"secret":"secret"}'


def test_a_reply_has_the_status_of_its_route_unless_it_brings_one() -> None:
    assert serialized(made, Reply(Made(n=1)), status_code=201).status == 201
    assert serialized(made, Reply(Made(n=1), 202), status_code=201).status == 202


def test_headers_of_a_reply_follow_the_type() -> None:
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert serialized(made, Reply(Made(n=1), headers=cookies)).headers == (
        JSON,
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    )


def test_a_type_of_its_own_replaces_the_routes() -> None:
    problem = {"Content-Type": "application/problem+json"}
    assert serialized(made, Reply(Made(n=1), headers=problem)).headers == (
        (b"content-type", b"application/problem+json"),
    )


def test_bytes_in_a_reply_are_sent_as_they_are() -> None:
    assert serialized(made, Reply(b"\xff\x00")) == SerializedResult(200, (JSON,), b"\xff\x00")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_what_has_no_body_has_no_type_either(status: int) -> None:
    assert serialized(untyped, {"n": 1}, status_code=status) == SerializedResult(status, (), b"")
    reply = Reply({"n": 1}, status, {"ETag": '"1"'})
    assert serialized(untyped, reply) == SerializedResult(status, ((b"etag", b'"1"'),), b"")


def test_the_body_of_an_error_need_not_be_of_the_results_type() -> None:
    assert serialized(made, Reply({"why": More(n=1)}, 409)).body == b'{"why":{"n":1,"secret":"secret"}}'


def test_an_error_of_a_route_that_sends_pictures_is_json_and_says_so() -> None:
    missing = Reply({"no": "picture"}, 404)
    assert serialized(picture, missing, media_type="image/png") == SerializedResult(404, (JSON,), b'{"no":"picture"}')
    smaller = Reply(b"\x89", 404)
    assert serialized(picture, smaller, media_type="image/png") == SerializedResult(404, (PNG,), b"\x89")


def test_an_error_in_text_of_a_route_that_sends_text_keeps_its_type() -> None:
    assert serialized(table, Reply("none", 404), media_type="text/csv") == SerializedResult(
        404, ((b"content-type", b"text/csv; charset=utf-8"),), b"none"
    )


@pytest.mark.parametrize(("media_type", "sent"), [("text/csv; charset=latin-1", None), ("TEXT/csv", None)])
def test_a_character_set_is_added_only_where_starlette_adds_one(media_type: str, sent: str | None) -> None:
    headers = serialized(table, "a", media_type=media_type).headers
    assert headers == ((b"content-type", (sent or media_type).encode()),)


def test_a_raw_route_refuses_what_is_neither_bytes_nor_text() -> None:
    with pytest.raises(TypeError, match="not dict"):
        serialized(picture, {"n": 1}, media_type="image/png")


def test_a_result_that_does_not_fit_its_annotation_is_refused() -> None:
    with pytest.raises(ValueError, match="n\n"):
        serialized(made, {"m": 1})


def test_what_is_annotated_as_nothing_is_sent_as_fastapi_sends_it() -> None:
    assert serialized(nothing, None).body == b"null"
    assert serialized(nothing, {"n": 1}).body == b'{"n":1}'


def test_an_error_of_either_kind_is_a_detail_with_headers() -> None:
    why = {"X-Why": "so"}
    for error in (HTTPError(409, ["a"], why), HTTPException(409, ["a"], why)):
        assert serialize_error(error) == SerializedResult(409, (JSON, (b"x-why", b"so")), b'{"detail":["a"]}')


def test_an_error_with_a_type_of_its_own_has_no_second_one() -> None:
    typed = {"Content-Type": "application/problem+json"}
    assert serialize_error(HTTPException(409, "a", typed)).headers == ((b"content-type", b"application/problem+json"),)


def test_an_error_that_has_no_body_sends_none() -> None:
    assert serialize_error(HTTPException(304, "a", {"ETag": "1"})) == SerializedResult(304, ((b"etag", b"1"),), b"")


@pytest.mark.parametrize("headers", [{"X-Why": "a\r\nb: c"}, {"Content-Length": "1"}])
def test_an_error_with_headers_that_http_forbids_cannot_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        serialize_error(HTTPError(409, "a", headers))


def test_invalid_arguments_are_told_even_where_json_cannot_hold_them() -> None:
    found = serialize_error(
        RequestValidationError([{"input": [b"\xff", "\ud800", float("nan"), float("-inf"), 0.5, True, "ä"]}])
    )
    assert found.status == 422
    assert json.loads(found.body) == {"detail": [{"input": ["�", "?", "nan", "-inf", 0.5, True, "ä"]}]}


def counted() -> list[int]: ...  # type: ignore[empty-body]
def anything() -> Any: ...
def iterated() -> Iterable[int] | None: ...
def whichever() -> Annotated[Generator[int, None, None], "as they come"]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("function", [untyped, anything, counted])
@pytest.mark.parametrize("made", [iter, lambda numbers: (n for n in numbers), lambda n: zip(n, n, strict=True)])
def test_an_iterator_that_no_type_announces_is_refused_before_it_is_asked(
    function: Callable[..., Any], made: Callable[[Iterable[int]], Iterator[Any]]
) -> None:
    result = made([1, 2])
    with pytest.raises(TypeError, match="return a list"):
        serialized(function, result)
    assert len(list(result)) == 2
    with pytest.raises(TypeError, match="return a list"):
        serialized(function, Reply(made([1, 2])))


def test_an_iterator_inside_of_an_untyped_result_is_refused() -> None:
    with pytest.raises(TypeError, match="return a list"):
        serialized(untyped, {"rows": [iter([1])]})


def test_an_iterator_whose_type_says_so_is_a_list() -> None:
    assert serialized(iterated, iter([1, 2])).body == b"[1,2]"
    assert serialized(whichever, (n for n in [1, 2])).body == b"[1,2]"

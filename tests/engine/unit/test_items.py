"""What a generator yields becomes the bytes that the same function in plain FastAPI sends."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ValidationError

from floodgate.declare.registry import Handler
from floodgate.declare.streaming import StreamFormat
from floodgate.gateway.responses import Problem
from floodgate.gateway.stream_format import headers_of, ping, problem_event
from floodgate.worker.items import ItemEncoder, head_of
from shared import Reply
from tests.engine.conformance.handlers import streams
from tests.engine.conformance.reference import app as reference
from tests.engine.conformance.sealed import sealed

CASES: list[tuple[Callable[..., Any], str, type[StreamingResponse] | None]] = [
    (streams.lines, "/streams/lines", None),
    (streams.lines_sync, "/streams/lines-sync", None),
    (streams.lines_untyped, "/streams/lines-untyped", None),
    (streams.lines_untyped_sync, "/streams/lines-untyped-sync", None),
    (streams.lines_any, "/streams/lines-any", None),
    (streams.lines_events, "/streams/lines-events", None),
    (streams.lines_none, "/streams/lines-none", None),
    (streams.lines_mappings, "/streams/lines-mappings", None),
    (streams.lines_optional, "/streams/lines-optional", None),
    (streams.lines_misannotated, "/streams/lines-misannotated", None),
    (streams.events, "/streams/events", EventSourceResponse),
    (streams.events_sync, "/streams/events-sync", EventSourceResponse),
    (streams.events_untyped, "/streams/events-untyped", streams.Events),
    (streams.events_own, "/streams/events-own", EventSourceResponse),
    (streams.events_mixed, "/streams/events-mixed", EventSourceResponse),
    (streams.reply, "/streams/reply", EventSourceResponse),
    (streams.raw, "/streams/bytes", StreamingResponse),
    (streams.csv, "/streams/csv", streams.Csv),
]
DIFFERENT = {"/streams/bytes": "a type is named that FastAPI leaves out: what has none is guessed by browsers"}


async def yielded(function: Callable[..., Any]) -> list[Any]:
    if inspect.isasyncgenfunction(function):
        return [item async for item in function()]
    return list(function())


def handler_of(function: Callable[..., Any], **declared: Any) -> Handler:
    return sealed(function, **declared).handlers[0]


@pytest.mark.asyncio
@pytest.mark.parametrize(("function", "path", "response_class"), CASES, ids=[path for _, path, _ in CASES])
async def test_a_stream_is_that_of_plain_fastapi_byte_by_byte(
    function: Callable[..., Any], path: str, response_class: type[StreamingResponse] | None
) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(reference), base_url="http://reference") as client:
        theirs = await client.get(path)
    handler = handler_of(function, response_class=response_class)
    encoder = ItemEncoder(handler)
    items = await yielded(function)
    head = head_of(items[0]) if items else None
    status, headers = encoder.head if head is None else encoder.with_head(head)
    body = b"".join(encoder.encode(item) for item in items[head is not None :])
    assert handler.stream is not None
    mine = {*headers, *headers_of(handler.stream, headers)}
    assert (status, body) == (theirs.status_code, theirs.content)
    assert mine - set(theirs.headers.raw) == (
        {(b"content-type", b"application/octet-stream")} & mine if path in DIFFERENT else set()
    )
    assert set(theirs.headers.raw) - mine == set()


def encoder_of(function: Callable[..., Any], **declared: Any) -> ItemEncoder:
    return ItemEncoder(handler_of(function, **declared))


async def numbers() -> AsyncIterator[int]:
    yield 1


def anything():  # type: ignore[no-untyped-def]
    yield 1


EVENTS = {"response_class": EventSourceResponse}


def test_the_id_of_a_resumable_event_stands_where_fastapi_writes_ids() -> None:
    encoder = encoder_of(numbers, **EVENTS, resumable=True)
    assert encoder.encode(7, "a.b.3") == b"data: 7\nid: a.b.3\n\n"
    assert encoder.encode(ServerSentEvent(data=7, event="x", retry=5), "a.b.4") == (
        b"event: x\ndata: 7\nid: a.b.4\nretry: 5\n\n"
    )
    with pytest.raises(ValueError, match="no id of its own"):
        encoder.encode(ServerSentEvent(data=7, id="mine"), "a.b.5")


def test_an_item_that_does_not_fit_its_type_raises_what_a_result_would() -> None:
    for declared in ({}, EVENTS):
        with pytest.raises(ValidationError):
            encoder_of(numbers, **declared).encode("no number")


def test_what_is_no_item_is_refused() -> None:
    with pytest.raises(TypeError, match="first that a generator yields"):
        encoder_of(numbers).encode(Reply(None, 202))
    with pytest.raises(TypeError, match="not int"):
        encoder_of(numbers, response_class=StreamingResponse).encode(1)
    with pytest.raises(TypeError, match="returned a generator"):  # it may never end
        encoder_of(anything).encode(n for n in range(3))


def test_a_head_is_a_reply_without_a_body() -> None:
    encoder = encoder_of(numbers, status_code=201)
    assert encoder.head == (201, ((b"content-type", b"application/jsonl"),))
    assert head_of(1) is None
    head = head_of(Reply(None, headers={"X-A": "1"}))
    assert head is not None
    assert encoder.with_head(head) == (201, ((b"content-type", b"application/jsonl"), (b"x-a", b"1")))
    head = head_of(Reply(None, 400, {"Content-Type": "text/x"}))
    assert head is not None
    assert encoder.with_head(head) == (400, ((b"content-type", b"text/x"),))
    with pytest.raises(ValueError, match="yield what it has to say after it"):
        head_of(Reply(1))
    with pytest.raises(ValueError, match="a 204 has no body"):
        head_of(Reply(None, 204))


def test_the_type_of_bytes_is_the_routes_own() -> None:
    declared = {"response_class": streams.Csv, "media_type": "text/plain; charset=latin-1"}
    assert encoder_of(numbers, **declared).head.headers == ((b"content-type", b"text/plain; charset=latin-1"),)


def test_only_events_have_pings_and_say_why_they_break_off() -> None:
    problem = Problem(type="about:blank", title="T", status=500, detail="a\nb", request_id="r")
    assert ping(StreamFormat.SSE) == b": ping\n\n"
    event = problem_event(StreamFormat.SSE, problem)
    assert event == b"event: problem\ndata: " + problem.model_dump_json().encode() + b"\n\n"
    for format in (StreamFormat.JSON_LINES, StreamFormat.BYTES):
        assert (ping(format), problem_event(format, problem), headers_of(format, ())) == (None, None, ())


def test_what_a_handler_says_of_caching_is_left_alone() -> None:
    own = ((b"cache-control", b"private"),)
    assert headers_of(StreamFormat.SSE, own) == ((b"x-accel-buffering", b"no"),)

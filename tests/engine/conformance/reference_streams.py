"""The streamed routes of the reference app: the same generators, in plain FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from tests.engine.conformance.handlers import streams

LINES: dict[str, Callable[..., Any]] = {
    "/streams/lines": streams.lines,
    "/streams/lines-sync": streams.lines_sync,
    "/streams/lines-untyped": streams.lines_untyped,
    "/streams/lines-untyped-sync": streams.lines_untyped_sync,
    "/streams/lines-any": streams.lines_any,
    "/streams/lines-events": streams.lines_events,
    "/streams/lines-none": streams.lines_none,
    "/streams/lines-mappings": streams.lines_mappings,
    "/streams/lines-optional": streams.lines_optional,
    "/streams/lines-misannotated": streams.lines_misannotated,
}

EVENTS: dict[str, Callable[..., Any]] = {
    "/streams/events": streams.events,
    "/streams/events-sync": streams.events_sync,
    "/streams/events-own": streams.events_own,
    "/streams/events-mixed": streams.events_mixed,
}


def add_streams(app: FastAPI) -> None:
    """Add the streamed routes; the one whose function yields a `Reply` is written once more."""
    for path, function in LINES.items():
        app.get(path)(function)
    for path, function in EVENTS.items():
        app.get(path, response_class=EventSourceResponse)(function)
    app.get("/streams/events-untyped", response_class=streams.Events)(streams.events_untyped)
    app.get("/streams/bytes", response_class=StreamingResponse)(streams.raw)
    app.get("/streams/csv", response_class=streams.Csv)(streams.csv)
    app.post("/streams/created", status_code=201)(streams.created)
    app.get("/streams/summarised", tags=["one"], summary="A summary", deprecated=True)(streams.summarised)

    @app.get("/streams/reply", response_class=EventSourceResponse, dependencies=[Depends(_head)])
    async def reply() -> AsyncIterator[streams.Token]:
        """Say status and headers first."""
        yield streams.Token(text="a")


def _head(response: Response) -> None:
    response.headers["X-Model"] = "small"
    response.status_code = 202

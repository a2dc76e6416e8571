"""What a streamed route declares: its format, how long it may take, and whether a client may read on.

Owns which format a generator's items get, as FastAPI decides it, and the checks of the
decorator's options. Must not know how items travel; `floodgate.worker.items` writes them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi.dependencies.utils import get_stream_item_type
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

from floodgate.declare.reply import Reply

STREAM_S, STREAM_IDLE_S, RESUME_S = 60.0, 30.0, 30.0
"""Defaults of the decorator: of the whole stream, of a reader that takes nothing, of one that left and may return."""
LONGEST_S = 7000.0
"""What a task may take is bounded by how long its keys are kept after their end: two hours."""


class StreamFormat(StrEnum):
    """How items stand in the body; by the route's response class, as FastAPI decides it."""

    SSE = "sse"
    """One event per item (`EventSourceResponse`)."""
    JSON_LINES = "jsonl"
    """One line of JSON per item (no response class)."""
    BYTES = "bytes"
    """The items themselves, one after the other (`StreamingResponse`, or a class made of it)."""

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    StreamFormat.SSE: "text/event-stream",
    StreamFormat.JSON_LINES: "application/jsonl",
    StreamFormat.BYTES: "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the decorator says of a stream; None where it says nothing."""

    response_class: type[StreamingResponse] | None = None
    stream_s: float | None = None
    stream_idle_s: float | None = None
    resumable: bool = False
    resume_s: float | None = None


def is_generator(function: Callable[..., Any]) -> bool:
    """Tell whether a function yields, itself or below what other decorators made of it; FastAPI unwraps too."""
    inner = inspect.unwrap(function)
    if inspect.iscoroutinefunction(function):  # it has to be awaited, and then it is a returned iterator
        return False
    return inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)


def stream_format(options: StreamOptions) -> StreamFormat:
    """Return the format of a generator's items; raises `ValueError` for a class that does not stream."""
    chosen = options.response_class
    if chosen is None:
        return StreamFormat.JSON_LINES
    if not (isinstance(chosen, type) and issubclass(chosen, StreamingResponse)):
        raise ValueError(
            f"response_class is {chosen!r}; a generator streams by EventSourceResponse (events), StreamingResponse or "
            "a class made of it (bytes), or, left out, as JSON Lines"
        )
    return StreamFormat.SSE if issubclass(chosen, EventSourceResponse) else StreamFormat.BYTES


def item_type(annotation: Any, format: StreamFormat) -> Any:
    """Return the type that each item is validated and documented by; `Signature.empty` where FastAPI takes none.

    A `Reply` is no item: it is taken out of the type.
    """
    item = inspect.Signature.empty if format is StreamFormat.BYTES else get_stream_item_type(annotation)
    # An event is validated by its own class, and says nothing of what it carries.
    if item is None or (isinstance(item, type) and issubclass(item, ServerSentEvent)):
        return inspect.Signature.empty
    if get_origin(item) in (Union, UnionType):
        kept = [part for part in get_args(item) if Reply not in (part, get_origin(part))]
        return Union[tuple(kept)] if kept else inspect.Signature.empty  # noqa: UP007 -- the parts are known at run time only
    return inspect.Signature.empty if Reply in (item, get_origin(item)) else item


def check_plain(options: StreamOptions) -> None:
    """Raise `ValueError` where a function that does not yield is declared with options of a stream."""
    if options != StreamOptions():
        given = [name for name in StreamOptions.__slots__ if getattr(options, name) != getattr(StreamOptions(), name)]
        raise ValueError(
            f"{', '.join(given)} goes with a generator; write `yield` in the function itself, or leave it out"
        )


def check_stream(options: StreamOptions, format: StreamFormat, timeout_s: float) -> None:
    """Raise `ValueError`, with the repair, for options of a stream that do not fit; `timeout_s` is until its head."""
    for name in ("stream_s", "stream_idle_s", "resume_s"):
        value = getattr(options, name)
        if value is not None and not (_positive(value) and value <= LONGEST_S):
            raise ValueError(f"{name} is {value!r}; it must be a number of seconds above 0, at most {LONGEST_S:g}")
    stream_s = options.stream_s or STREAM_S
    if stream_s < timeout_s:
        raise ValueError(
            f"stream_s is {stream_s:g}, and the head alone may take timeout_s, {timeout_s:g}; "
            "make stream_s, which bounds the whole, at least as long"
        )
    if not isinstance(options.resumable, bool):
        raise ValueError(f"resumable is {options.resumable!r}; it must be True or False")
    if options.resumable and format is not StreamFormat.SSE:
        raise ValueError(
            "resumable=True is for server-sent events, where a client says what it had; "
            "write response_class=EventSourceResponse, or leave it out"
        )
    if options.resume_s is not None and not options.resumable:
        raise ValueError("resume_s goes with resumable=True; add it, or leave both out")


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

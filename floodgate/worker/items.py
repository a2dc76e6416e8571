"""Turns what a generator yields into the bytes that its client gets: an event, a line, or the bytes themselves.

Every byte is FastAPI's own, whose functions are used where they can be called; a test
compares the rest. Must not know how the bytes travel.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastapi.encoders import jsonable_encoder
from fastapi.sse import ServerSentEvent, format_sse_event
from pydantic import TypeAdapter

from floodgate.broker.envelopes import Headers
from floodgate.declare.registry import Handler
from floodgate.declare.reply import Reply
from floodgate.declare.streaming import StreamFormat
from floodgate.worker.serialization import BODILESS, CONTENT_TYPE, refuse_iterator, typed_headers, with_charset


class StreamHead(NamedTuple):
    """Status and headers of a streamed answer; a status of 0 is the route's."""

    status: int
    headers: Headers


def head_of(item: Any) -> StreamHead | None:
    """Return the head that a generator yields before its items, or None where the item is one.

    Raises `ValueError` for a `Reply` with a body, which would be an item, or with a status that has none.
    """
    if not isinstance(item, Reply):
        return None
    if item.body is not None:
        raise ValueError("the Reply that a generator yields first is Reply(None, …); yield what it has to say after it")
    if item.status in BODILESS:
        raise ValueError(f"a {item.status} has no body that could be streamed; raise HTTPError before the first item")
    return StreamHead(item.status or 0, item.headers)


class ItemEncoder:
    """Encodes the items of one handler; made once, at start."""

    def __init__(self, handler: Handler) -> None:
        assert handler.stream is not None
        shown = handler.presentation
        declared = None if handler.response_class is None else handler.response_class.media_type
        media_type = handler.stream.media_type
        if handler.stream is StreamFormat.BYTES:
            media_type = shown.media_type or declared or media_type
        self.head = StreamHead(shown.status_code, ((CONTENT_TYPE, with_charset(media_type).encode("latin-1")),))
        """Of a stream whose generator says nothing of it."""
        self._dump = _dump_any if handler.result is inspect.Signature.empty else _typed(handler.result)
        self._charset = "utf-8" if handler.response_class is None else handler.response_class.charset
        by_format = {StreamFormat.SSE: self._event, StreamFormat.JSON_LINES: self._line, StreamFormat.BYTES: self._raw}
        self._encode: Callable[[Any, str], bytes] = by_format[handler.stream]

    def with_head(self, head: StreamHead) -> StreamHead:
        """Return the head of a stream whose generator yielded one."""
        return StreamHead(head.status or self.head.status, typed_headers(self.head.headers, head.headers))

    def encode(self, item: Any, id: str = "") -> bytes:
        """Return one whole item; `id` is that of the event, where a client may read on from it.

        Raises whatever pydantic does when an item does not fit its type, `ValueError` for an
        event with an id of its own where it is given one, and `TypeError` for what is no item.
        """
        if isinstance(item, Reply):
            raise TypeError("a Reply is the first that a generator yields, or none: its head has gone to the client")
        return self._encode(item, id)

    def _event(self, item: Any, id: str) -> bytes:
        if not isinstance(item, ServerSentEvent):
            # JSON has no line break: what FastAPI's function would do with one is not needed here.
            return (
                b"data: %b\nid: %b\n\n" % (self._dump(item), id.encode()) if id else b"data: %b\n\n" % self._dump(item)
            )
        if id and item.id is not None:
            raise ValueError("an event of a resumable stream has no id of its own: its id says where to read on")
        return format_sse_event(
            data_str=_data(item), event=item.event, id=id or item.id, retry=item.retry, comment=item.comment
        )

    def _line(self, item: Any, _: str) -> bytes:
        return self._dump(item) + b"\n"

    def _raw(self, item: Any, _: str) -> bytes:
        if isinstance(item, str):
            return item.encode(self._charset)
        if isinstance(item, bytes | bytearray | memoryview):
            return bytes(item)
        raise TypeError(f"a stream of bytes is made of bytes or str, not {type(item).__name__}")


def _data(event: ServerSentEvent) -> str | None:
    if event.raw_data is not None:
        return event.raw_data
    if event.data is None:
        return None
    if hasattr(event.data, "model_dump_json"):
        dumped: str = event.data.model_dump_json()
        return dumped
    return _dump_any(event.data).decode()


def _typed(annotation: Any) -> Callable[[Any], bytes]:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def dump(item: Any) -> bytes:
        return adapter.dump_json(adapter.validate_python(item, from_attributes=True), by_alias=True)

    return dump


def _dump_any(item: Any) -> bytes:
    plain = jsonable_encoder(item, custom_encoder={Iterator: refuse_iterator})
    try:
        return json.dumps(plain, allow_nan=False).encode()
    except ValueError:  # a number that JSON does not know becomes null, as FastAPI has it in streams
        return json.dumps(_finite(plain)).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return value

"""Turns what a handler returned or raised into status, headers and final bytes.

The only serialization on the whole way: the gateway sends these bytes as they are.
Must not know queues.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Never, Union, get_args, get_origin

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from floodgate.broker.envelopes import Headers
from floodgate.declare.checks import is_json
from floodgate.declare.registry import Handler
from floodgate.declare.reply import Reply, checked_headers, checked_status
from floodgate.errors import HTTPError

JSON = "application/json"
CONTENT_TYPE = b"content-type"
_JSON_TYPE: Headers = ((CONTENT_TYPE, JSON.encode()),)
_READABLE: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: value.decode("utf-8", "replace"),
    str: lambda value: value.encode("utf-8", "replace").decode(),
    float: lambda value: value if math.isfinite(value) else str(value),
}
"""A 422 quotes what the client sent: bytes that are no text, half a surrogate pair, NaN. JSON has none of these."""
BODILESS = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True)
class SerializedResult:
    """An answer as it goes to the client."""

    status: int
    headers: Headers
    body: bytes


class Serializer:
    """Serializes the results of one handler."""

    def __init__(self, handler: Handler) -> None:
        media_type = handler.presentation.media_type or JSON
        self._status = handler.presentation.status_code
        self._headers: Headers = ((CONTENT_TYPE, with_charset(media_type).encode("latin-1")),)
        self._raw = not is_json(media_type)
        self._dump: Callable[[Any], bytes] = _raw if self._raw else _typed(handler.result)

    def __call__(self, result: Any) -> SerializedResult:
        """Return the answer; raises whatever pydantic does when a result does not fit the annotation."""
        if isinstance(result, Reply):
            return self._reply(result)
        if self._status in BODILESS:
            return SerializedResult(self._status, (), b"")
        return SerializedResult(self._status, self._headers, self._dump(result))

    def _reply(self, reply: Reply[Any]) -> SerializedResult:
        status = self._status if reply.status is None else checked_status(reply.status)
        if status in BODILESS:
            return SerializedResult(status, reply.headers, b"")
        kind, body = self._body(reply.body, status)
        return SerializedResult(status, typed_headers(kind, reply.headers), body)

    def _body(self, body: Any, status: int) -> tuple[Headers, bytes]:
        if isinstance(body, bytes):
            return self._headers, body
        if status >= 400 and not (self._raw and isinstance(body, str)):  # an error's body has a form of its own
            return _JSON_TYPE, _dump_anything(body)
        return self._headers, self._dump(body)


def serialize_error(error: HTTPError | HTTPException | RequestValidationError) -> SerializedResult:
    """Return the answer for a handler's own HTTP error, or for arguments that do not validate."""
    if isinstance(error, RequestValidationError):
        return _detail(422, jsonable_encoder(error.errors(), custom_encoder=dict(_READABLE)), {})
    status = checked_status(error.status if isinstance(error, HTTPError) else error.status_code)
    return _detail(status, error.detail, error.headers or {})


def _detail(status: int, detail: Any, headers: Mapping[str, str]) -> SerializedResult:
    own = checked_headers(headers)
    if status in BODILESS:
        return SerializedResult(status, own, b"")
    return SerializedResult(status, typed_headers(_JSON_TYPE, own), _dumps({"detail": detail}))


def typed_headers(kind: Headers, own: Headers) -> Headers:
    """Return a handler's own headers, with the type of its route unless it has set one."""
    return own if any(name == CONTENT_TYPE for name, _ in own) else (*kind, *own)


def _typed(annotation: Any) -> Callable[[Any], bytes]:
    if annotation in (inspect.Signature.empty, None, type(None)):  # FastAPI sends what such a function returns
        return _dump_anything
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    iterates = _iterates(annotation)

    def dump(result: Any) -> bytes:
        if not iterates and isinstance(result, Iterator):  # pydantic reads one to its end where a list is wanted
            refuse_iterator(result)
        return adapter.dump_json(adapter.validate_python(result, from_attributes=True), by_alias=True)

    return dump


def _raw(result: Any) -> bytes:
    if isinstance(result, str):
        return result.encode()
    if isinstance(result, bytes):
        return result
    raise TypeError(f"a route with a media type of its own returns bytes or str, not {type(result).__name__}")


def _dump_anything(result: Any) -> bytes:
    return _dumps(jsonable_encoder(result, custom_encoder={Iterator: refuse_iterator}))


def _iterates(annotation: Any) -> bool:
    """Tell whether a type says that a result is read item by item."""
    origin = get_origin(annotation) or annotation
    if origin in (Annotated, Union, UnionType):
        return any(_iterates(part) for part in get_args(annotation))
    return isinstance(origin, type) and (origin is Iterable or issubclass(origin, Iterator))


def refuse_iterator(result: Any) -> Never:
    """Raise `TypeError`: an iterator may never end, and a result is held in memory as a whole."""
    raise TypeError(f"a handler returned a {type(result).__name__}: return a list, or annotate `-> Iterable[…]`")


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def with_charset(media_type: str) -> str:
    """Return a media type as Starlette sends it: text says its charset."""
    text = media_type.startswith("text/") and "charset=" not in media_type.lower()
    return f"{media_type}; charset=utf-8" if text else media_type

"""From what a handler returned or raised to status, headers and final bytes.

Owns the one serialisation of the whole path: the gateway sends these bytes as they
are. Must not know queues.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from shared.errors import HTTPError
from shared.queue.messages import Headers
from shared.registry import Handler
from shared.reply import Reply, checked_headers
from shared.sealing import is_json

JSON = "application/json"
_CONTENT_TYPE = b"content-type"
_READABLE = {bytes: lambda value: value.decode("utf-8", "replace")}
_BODILESS = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer as it goes to the client."""

    status: int
    headers: Headers
    body: bytes


class Renderer:
    """Renders the results of one handler."""

    def __init__(self, handler: Handler) -> None:
        media_type = handler.presentation.media_type or JSON
        self._status = handler.presentation.status_code
        self._headers: Headers = ((_CONTENT_TYPE, _with_charset(media_type).encode("latin-1")),)
        self._dump: Callable[[Any], bytes] = _typed(handler.result) if is_json(media_type) else _raw

    def __call__(self, result: Any) -> Rendered:
        """Return the answer; raises whatever pydantic does when a result does not fit the annotation."""
        if isinstance(result, Reply):
            return self._reply(result)
        if self._status in _BODILESS:
            return Rendered(self._status, (), b"")
        return Rendered(self._status, self._headers, self._dump(result))

    def _reply(self, reply: Reply[Any]) -> Rendered:
        status = self._status if reply.status is None else reply.status
        if status in _BODILESS:
            return Rendered(status, reply.headers, b"")
        own_type = any(name == _CONTENT_TYPE for name, _ in reply.headers)
        headers = reply.headers if own_type else (*self._headers, *reply.headers)
        if isinstance(reply.body, bytes):
            body = reply.body
        elif status >= 400:  # an error's body has a form of its own
            body = _dump_anything(reply.body)
        else:
            body = self._dump(reply.body)
        return Rendered(status, headers, body)


def refusal(error: HTTPError | HTTPException | RequestValidationError) -> Rendered:
    """Return what a handler's own error, or arguments that do not validate, look like to the client."""
    if isinstance(error, RequestValidationError):
        return _detail(422, jsonable_encoder(error.errors(), custom_encoder=_READABLE), {})
    status = error.status if isinstance(error, HTTPError) else error.status_code
    return _detail(status, error.detail, error.headers or {})


def _detail(status: int, detail: Any, headers: Mapping[str, str]) -> Rendered:
    own = checked_headers(headers)
    if status in _BODILESS:
        return Rendered(status, own, b"")
    return Rendered(status, ((_CONTENT_TYPE, JSON.encode()), *own), _dumps({"detail": detail}))


def _typed(annotation: Any) -> Callable[[Any], bytes]:
    if annotation is inspect.Signature.empty:
        return _dump_anything
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def dump(result: Any) -> bytes:
        return adapter.dump_json(adapter.validate_python(result, from_attributes=True), by_alias=True, warnings="error")

    return dump


def _raw(result: Any) -> bytes:
    if isinstance(result, str):
        return result.encode()
    if isinstance(result, bytes):
        return result
    raise TypeError(f"a route with a media type of its own returns bytes or str, not {type(result).__name__}")


def _dump_anything(result: Any) -> bytes:
    return _dumps(jsonable_encoder(result))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _with_charset(media_type: str) -> str:
    text = media_type.startswith("text/") and "charset=" not in media_type.lower()
    return f"{media_type}; charset=utf-8" if text else media_type

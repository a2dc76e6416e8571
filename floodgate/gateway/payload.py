"""What of a request travels to the worker: raw, as it came, and only what the handler declares.

A cookie or header that no parameter asks for stays in the gateway, so no session
or token of another part of the site lies in Redis. Owns the limits of a body, in
bytes and in time; both raise `HTTPException`, since FastAPI turns anything else that
reading raises into 400. Must not know Redis.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AliasChoices, AliasPath, BaseModel
from starlette.types import Message, Receive

from floodgate.broker.envelopes import Headers
from floodgate.declare.checks import is_json
from floodgate.declare.context import Caller
from floodgate.declare.registry import Handler
from floodgate.declare.typed_arguments import dependant_of
from floodgate.gateway.identity import OutOfTime, within
from floodgate.gateway.middleware import record_of
from floodgate.gateway.request_options import RequestOptions

_COOKIE = b"cookie"
_CONTENT_TYPE = b"content-type"


@dataclass(frozen=True, slots=True)
class Payload:
    """A request's raw arguments, as they came."""

    request_id: str
    options: RequestOptions
    path: dict[str, str] = field(default_factory=dict)
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    caller: Caller | None = None
    level: int = 0


class PayloadBuilder:
    """Cuts out of a request what one handler reads."""

    def __init__(self, handler: Handler) -> None:
        dependant = dependant_of(handler)
        self._reads_query = bool(dependant.query_params)
        self._reads_body = bool(dependant.body_params)
        self._all_headers = any(_keeps_unknown(field) for field in dependant.header_params)
        self._all_cookies = any(_keeps_unknown(field) for field in dependant.cookie_params)
        self._headers = {name.lower().encode("latin-1") for name in _names(dependant.header_params)}
        if self._reads_body:
            self._headers.add(_CONTENT_TYPE)
        self._cookies = set(_names(dependant.cookie_params))

    async def payload(self, request: Request, level: int) -> Payload:
        """Return the raw arguments of a request that FastAPI has validated."""
        scope, record = request.scope, record_of(request.scope)
        return Payload(
            request_id=record.request_id,
            options=record.options,
            path={name: str(value) for name, value in scope["path_params"].items()},
            query=scope["query_string"].decode("latin-1") if self._reads_query else "",
            headers=self._pick(scope["headers"]) if self._headers or self._cookies else (),
            body=_without_half_characters(await request.body(), request) if self._reads_body else b"",
            caller=record.caller,
            level=int(level),
        )

    def _pick(self, headers: list[tuple[bytes, bytes]]) -> Headers:
        if self._all_headers:
            return tuple(headers)
        picked = [(name, value) for name, value in headers if name in self._headers]
        if _COOKIE not in self._headers:
            picked += [(n, kept) for n, value in headers if n == _COOKIE and (kept := self._declared(value))]
        return tuple(picked)

    def _declared(self, cookies: bytes) -> bytes:
        if self._all_cookies:
            return cookies
        parts = cookies.decode("latin-1").split(";")
        return ";".join(part for part in parts if part.partition("=")[0].strip() in self._cookies).encode("latin-1")


def _without_half_characters(body: bytes, request: Request) -> bytes:
    """Return the body, or raise `RequestValidationError` for JSON with half a surrogate pair, which no worker can send.

    Only an escape can spell one, and pydantic refuses it where a text is declared, but not where anything may come.
    """
    if (b"\\ud" in body or b"\\uD" in body) and is_json(request.headers.get("content-type", "")):
        try:
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            message = "Input should be a valid string, unable to parse raw data as a unicode string"
            fault = {"type": "string_unicode", "loc": ("body",), "msg": message, "input": {}}
            raise RequestValidationError([fault]) from error
    return body


def limited(receive: Receive, headers: list[tuple[bytes, bytes]], most_bytes: int) -> Receive:
    """Return a `receive` that raises 413 once a body is too large; what is declared too large is not read at all."""
    declared = next((value for name, value in headers if name == b"content-length"), b"0")
    too_large = declared.isdigit() and int(declared[:20]) > most_bytes
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        if too_large and seen == 0:
            seen = 1
            raise HTTPException(413, "the body is too large")
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most_bytes:
                raise HTTPException(413, "the body is too large")
        return message

    return receive_limited


def in_time(receive: Receive, seconds: float) -> Receive:
    """Return a `receive` that raises 408 when the body is not whole after `seconds`; the rest goes on as ever."""
    ends_s = asyncio.get_running_loop().time() + seconds
    is_whole = False

    async def receive_in_time() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        left_s = ends_s - asyncio.get_running_loop().time()
        try:
            message = await within(left_s, cast(Coroutine[Any, Any, Message], receive()))  # of `limited`
        except OutOfTime:
            raise HTTPException(408, "the body did not come in time", {"connection": "close"}) from None
        is_whole = not message.get("more_body", False)
        return message

    return receive_in_time


def _keeps_unknown(field: Any) -> bool:
    return any(model.model_config.get("extra") == "allow" for model in _models(field.field_info.annotation))


def _names(fields: Iterable[Any]) -> Iterator[str]:
    """Yield the names under which FastAPI may look for values: their own, or those of a model's fields."""
    for parameter in fields:
        yield from _spelled(parameter.field_info.validation_alias or parameter.alias)
        for model in _models(parameter.field_info.annotation):
            for name, info in model.model_fields.items():
                names = [*_spelled(info.validation_alias or info.alias or name)]
                if model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"):
                    names.append(name)
                for either in names:
                    yield either
                    yield either.replace("_", "-")  # as headers are spelled


def _spelled(alias: str | AliasChoices | AliasPath) -> Iterator[str]:
    if isinstance(alias, AliasChoices):
        for choice in alias.choices:
            yield from _spelled(choice)
    elif isinstance(alias, AliasPath):
        yield str(alias.path[0])
    else:
        yield alias


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)

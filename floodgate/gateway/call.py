"""From a plain route through admission and queue to a handler, and its typed result back.

What a request of a queued route would get as a status, a caller gets as an
exception; not caught, it becomes that very answer. Must not know Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload

from fastapi import Request, Response, WebSocket
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect, HTTPConnection

from floodgate.declare.reply import Reply
from floodgate.errors import HTTPError
from floodgate.gateway.call_codec import CallCodec, CallCodecs
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.identity import caller_of, record_for
from floodgate.gateway.outcomes import (
    CallError,
    DeadlineExceeded,
    Failure,
    HandlerFailed,
    Outcome,
)
from floodgate.gateway.rate_limit import RateLimited
from floodgate.gateway.responses import respond

__all__ = ["CallCodecs", "call", "caller_of"]

Result = TypeVar("Result")

_BODY_LOCK = "floodgate_body_lock"


@overload
async def call(
    function: Callable[..., Awaitable[Reply[Result]]], /, *, request: HTTPConnection, **arguments: Any
) -> Result: ...
@overload
async def call(
    function: Callable[..., Awaitable[Result]], /, *, request: HTTPConnection, **arguments: Any
) -> Result: ...
@overload
async def call(function: Callable[..., Reply[Result]], /, *, request: HTTPConnection, **arguments: Any) -> Result: ...
@overload
async def call(function: Callable[..., Result], /, *, request: HTTPConnection, **arguments: Any) -> Result: ...
async def call(function: Callable[..., Any], /, *, request: HTTPConnection, **arguments: Any) -> Any:
    """Send a queued handler through admission and queue and return its result, as its annotation says.

    `request` is the one that the plain route answers: it gives id, caller, and the
    client whose leaving cancels. `arguments` are the handler's own, without context
    and resources. A `Reply` comes back as its body. Calls may run side by side.

    Raises `Refused`, `DeadlineExceeded`, `Lost` or `HandlerFailed`; what `identify` raises;
    `TypeError` for arguments that do not fit, `LookupError` for a function that is
    not queued, and Starlette's `ClientDisconnect` when nobody waits any more. A body
    that the route has not read yet stays its own: until then nobody is seen leaving.
    """
    codec = _find(function, request)
    record = record_for(request)
    limit = asyncio.timeout(codec.handler.timeout_s)
    try:
        async with limit:
            caller = await caller_of(request)
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(codec.handler, Outcome(failure=Failure.DEADLINE_EXCEEDED)) from None
        raise
    options = codec.options_reader.options(request, caller, honor_prefer=False)
    payload = codec.payload(arguments, record.request_id, caller, options)
    leaving = await _leaving(request)
    dispatcher: Dispatcher = request.app.state.dispatcher
    meter, rate_limiter, route = dispatcher.metrics.of(codec.handler), dispatcher.rate_limiter, codec.handler.route
    meter.offered()
    answer = rate_limiter.over_rate(route) or rate_limiter.cached(route, options)
    by_memory = answer is not None
    if answer is None:
        answer = await dispatcher.dispatch(codec.handler, payload, leaving)
    meter.called(answer, by_memory)
    record.note(answer)
    return _result(codec, answer)


def _find(function: Callable[..., Any], request: HTTPConnection) -> CallCodec:
    call_codecs: CallCodecs | None = getattr(request.app.state, "call_codecs", None)
    if call_codecs is None:
        raise LookupError("this request belongs to a mounted application; `call` works from the gateway's own routes")
    return call_codecs.find(function)


def _result(codec: CallCodec, answer: Outcome) -> Any:
    if answer.failure is Failure.CLIENT_LEFT:
        raise ClientDisconnect
    if answer.failure is not None:
        raise answer.failure.row.raises(codec.handler, answer)
    assert answer.reply is not None
    if answer.reply.status >= 400:
        raise HandlerFailed(codec.handler, answer)
    return codec.result(answer.reply)


async def _leaving(request: HTTPConnection) -> Callable[[], Awaitable[Any]]:
    """Return what tells that the client leaves.

    Whoever listens takes what comes from the route, so that is only for a request
    whose body is read or that has none; the empty one is read here and kept for the route.
    """
    if not isinstance(request, Request):
        return _never
    if not request._stream_consumed:
        headers = request.headers
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return _never
        async with request.scope.setdefault(_BODY_LOCK, asyncio.Lock()):  # several calls of one route may be the first
            await request.body()
    return request.receive


async def _never() -> Any:
    await asyncio.get_running_loop().create_future()


async def _answer_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, CallError | RateLimited)
    _raise_in_a_websocket(request, error)
    return respond(error.answer, record_for(request).request_id)


async def _answer_leaving(request: Request, error: Exception) -> Response:
    _raise_in_a_websocket(request, error)
    return respond(Outcome(failure=Failure.CLIENT_LEFT), record_for(request).request_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPError)
    _raise_in_a_websocket(request, error)
    return JSONResponse({"detail": jsonable_encoder(error.detail)}, error.status, dict(error.headers))


ERROR_HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    CallError: _answer_failure,
    RateLimited: _answer_failure,
    ClientDisconnect: _answer_leaving,
    HTTPError: _answer_http_error,
}
"""What a plain route does not catch becomes what a queued route answers."""


def _raise_in_a_websocket(connection: HTTPConnection, error: Exception) -> None:
    if isinstance(connection, WebSocket):
        raise error

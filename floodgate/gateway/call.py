"""From a plain route through admission and queue to a handler, and its typed result back.

What a request of a queued route would get as a status, a caller gets as an
exception; not caught, it becomes that very answer. Must not know Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, HTTPConnection

from floodgate.declare.checks import is_json
from floodgate.declare.registry import Handler
from floodgate.declare.reply import Reply
from floodgate.errors import FloodgateError, HTTPError
from floodgate.gateway.call_codec import CallCodec, CallCodecs
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.identity import caller_of, record_for
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.rate_limit import RateLimited
from floodgate.gateway.responses import respond

__all__ = ["CallCodecs", "CallError", "DeadlineExceeded", "HandlerFailed", "Lost", "Refused", "call", "caller_of"]

Result = TypeVar("Result")

_SHORTEST_RETRY_S = 1.0
_BODY_LOCK = "floodgate_body_lock"


class CallError(FloodgateError):
    """A call without a result; `answer` is what a client of the route would have got."""

    def __init__(self, handler: Handler, answer: Outcome) -> None:
        status = answer.reply.status if answer.reply is not None and answer.failure is None else None
        super().__init__(f"{handler.label}: {status or answer.outcome}")
        self.answer = answer


class Refused(CallError):
    """There was no room, no worker, or no Redis; nothing ran, and it may be sent again after `retry_after_s`."""

    @property
    def retry_after_s(self) -> float:
        return max(_SHORTEST_RETRY_S, self.answer.retry_after_s)


class DeadlineExceeded(CallError):
    """There was no answer by the deadline."""


class Lost(CallError):
    """The worker or the reply was lost: it may have run."""


class HandlerFailed(CallError):
    """The handler raised, or answered with a status from 400 on: see `status` and `detail`."""

    @property
    def status(self) -> int:
        return self.answer.reply.status if self.answer.reply and self.answer.reply.status else 500

    @property
    def detail(self) -> Any:
        """Return what the handler gave as `HTTPError.detail`, or its body; None when it failed otherwise."""
        reply = self.answer.reply
        if reply is None or not reply.body:
            return None
        if not any(name == b"content-type" and is_json(value.decode("latin-1")) for name, value in reply.headers):
            return reply.body
        body = from_json(reply.body)
        return body.get("detail", body) if isinstance(body, dict) else body


_RAISES: Mapping[Failure, type[CallError]] = {
    Failure.LATE: DeadlineExceeded,
    Failure.LOST: Lost,
    Failure.UNKNOWN: Lost,
    Failure.FAILED: HandlerFailed,
}


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
            raise DeadlineExceeded(codec.handler, Outcome(failure=Failure.LATE)) from None
        raise
    options = codec.options_reader.options(request, caller, heed_prefer=False)
    payload = codec.payload(arguments, record.request_id, caller, options)
    leaving = await _leaving(request)
    dispatcher: Dispatcher = request.app.state.dispatcher
    meter = dispatcher.metering.of(codec.handler)
    meter.offered()
    answer = dispatcher.refusals.over_rate(codec.handler.route) or dispatcher.refusals.remembered(
        codec.handler.route, options
    )
    at_door = answer is not None
    if answer is None:
        answer = await dispatcher.dispatch(codec.handler, payload, leaving)
    meter.called(answer, at_door)
    record.note(answer)
    return _result(codec, answer)


def _find(function: Callable[..., Any], request: HTTPConnection) -> CallCodec:
    call_codecs: CallCodecs | None = getattr(request.app.state, "call_codecs", None)
    if call_codecs is None:
        raise LookupError("this request belongs to a mounted application; `call` works from the gateway's own routes")
    return call_codecs.find(function)


def _result(codec: CallCodec, answer: Outcome) -> Any:
    if answer.failure is Failure.LEFT:
        raise ClientDisconnect
    if answer.failure is not None:
        raise _RAISES.get(answer.failure, Refused)(codec.handler, answer)
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


def answer_call_errors(app: FastAPI) -> None:
    """Let what a plain route does not catch become what a queued route answers: a call's errors, and `HTTPError`."""

    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, CallError)
        _raise_in_a_websocket(request, error)
        return respond(error.answer, record_for(request).request_id)

    async def on_leaving(request: Request, error: Exception) -> Response:
        _raise_in_a_websocket(request, error)
        return respond(Outcome(failure=Failure.LEFT), record_for(request).request_id)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPError)
        _raise_in_a_websocket(request, error)
        return JSONResponse({"detail": jsonable_encoder(error.detail)}, error.status, dict(error.headers))

    async def on_rate(request: Request, error: Exception) -> Response:
        assert isinstance(error, RateLimited)
        return respond(error.answer, record_for(request).request_id)

    app.add_exception_handler(CallError, on_error)
    app.add_exception_handler(RateLimited, on_rate)
    app.add_exception_handler(ClientDisconnect, on_leaving)
    app.add_exception_handler(HTTPError, on_http_error)


def _raise_in_a_websocket(connection: HTTPConnection, error: Exception) -> None:
    if isinstance(connection, WebSocket):
        raise error

"""From a plain route through admission and queue to a handler, and its typed result back.

What a request of a queued route would get as a status, a caller gets as an
exception; not caught, it becomes that very answer. Must not know Redis.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar, get_args, overload

from fastapi import Request, Response, WebSocket
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from starlette.requests import ClientDisconnect, HTTPConnection

from floodgate.broker.envelopes import TaskReply
from floodgate.declare.checks import is_json
from floodgate.declare.context import Caller
from floodgate.declare.registry import Handler, Registry
from floodgate.declare.reply import Reply
from floodgate.declare.typed_arguments import TYPED, TypedArguments, dependant_of
from floodgate.errors import HTTPError
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.identity import OutOfTime, caller_of, record_for, within
from floodgate.gateway.outcomes import CallError, DeadlineExceeded, Failure, HandlerFailed, Outcome
from floodgate.gateway.payload import Payload
from floodgate.gateway.rate_limit import RateLimited
from floodgate.gateway.request_options import OptionsReader, RequestOptions
from floodgate.gateway.responses import respond

Result = TypeVar("Result")

OWN = "request"
"""The argument of `call` that a handler's parameter cannot be called."""
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
    call_codecs: CallCodecs | None = getattr(request.app, "call_codecs", None)
    if call_codecs is None:
        raise LookupError("this request belongs to a mounted application; `call` works from the gateway's own routes")
    codec = call_codecs.find(function)
    record = record_for(request)
    try:
        caller = await within(codec.handler.timeout_s, caller_of(request))
    except OutOfTime:
        raise DeadlineExceeded(codec.handler, Outcome(failure=Failure.DEADLINE_EXCEEDED)) from None
    options = codec.options_reader.options(request, caller, honor_prefer=False)
    payload = codec.payload(arguments, record.request_id, caller, options)
    leaving = await _leaving(request)
    dispatcher: Dispatcher = request.app.started_engine.dispatcher
    meter, rate_limiter, route = dispatcher.metrics.of(codec.handler), dispatcher.rate_limiter, codec.handler.route
    meter.offered()
    answer = rate_limiter.over_rate(route) or rate_limiter.cached(route, options)
    by_memory = answer is not None
    if answer is None:
        answer = await dispatcher.dispatch(codec.handler, payload, leaving)
    record.note(answer)
    meter.settled(record.outcome, by_memory, record.wait_ms, record.run_ms)
    return _result(codec, answer)


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


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer what a plain route did not catch as a queued route would."""
    if isinstance(request, WebSocket):  # which has its own way to end
        raise error
    if isinstance(error, HTTPError):
        return JSONResponse({"detail": jsonable_encoder(error.detail)}, error.status, dict(error.headers))
    answer = error.answer if isinstance(error, CallError | RateLimited) else Outcome(failure=Failure.CLIENT_LEFT)
    return respond(answer, record_for(request).request_id)


ANSWERED = (CallError, RateLimited, ClientDisconnect, HTTPError)
"""The errors for `answer_error`."""


class CallCodecs:
    """The functions of one registry; each is prepared with its first call."""

    def __init__(self, registry: Registry) -> None:
        self._handlers = {handler.function: handler for handler in registry.handlers}
        self._prepared: dict[Callable[..., Any], CallCodec] = {}

    def find(self, function: Callable[..., Any]) -> CallCodec:
        """Return the prepared function; raises `LookupError`, and `TypeError` for one that cannot be called."""
        if function not in self._prepared:
            if function not in self._handlers:
                name = getattr(function, "__qualname__", repr(function))
                raise LookupError(f"{name} is not queued: only a function under @queued can be called")
            self._prepared[function] = CallCodec(self._handlers[function])
        return self._prepared[function]


class CallCodec:
    """One handler, as a plain route calls it."""

    def __init__(self, handler: Handler) -> None:
        if handler.stream is not None:
            raise TypeError(f"{handler.label} streams; `call` is for handlers with one answer")
        self.handler = handler
        self.options_reader = OptionsReader(handler)
        self._typed = TypedArguments(dependant_of(handler))
        if OWN in self._typed.fields:
            raise TypeError(f"{handler.label} has a parameter {OWN!r}: rename it and keep its name as alias={OWN!r}")
        empty = handler.result is inspect.Signature.empty
        self._result: TypeAdapter[Any] = TypeAdapter(Any if empty else handler.result)
        for name in _one_way(handler.result):
            raise TypeError(f"the result of {handler.label} cannot be read back: {name}; use one alias for both ways")

    def payload(
        self, arguments: Mapping[str, Any], request_id: str, caller: Caller | None, options: RequestOptions
    ) -> Payload:
        """Return the typed arguments; raises `TypeError` for those that do not fit or have no JSON form."""
        self._check_names(arguments)
        try:
            body = self._typed.dump(arguments)
        except ValueError as error:
            raise TypeError(f"{self.handler.label}: {error}") from error
        level = self._level(arguments)
        return Payload(request_id, options, headers=TYPED, body=body, caller=caller, level=level)

    def result(self, reply: TaskReply) -> Any:
        """Return the result that a reply carries."""
        kind = next((value.decode("latin-1") for name, value in reply.headers if name == b"content-type"), "")
        if not reply.body and not kind:
            return None
        if is_json(kind):
            return self._result.validate_json(reply.body, by_alias=True, by_name=True)
        return reply.body.decode() if self.handler.result is str else reply.body

    def _check_names(self, arguments: Mapping[str, Any]) -> None:
        name = self.handler.function.__qualname__
        if unknown := [given for given in arguments if given not in self._typed.fields]:
            known = ", ".join(self._typed.fields) or "none"
            raise TypeError(f"{name} has no {', '.join(unknown)} that a request fills; it has: {known}")
        required = [field.name for field in self._typed.fields.values() if field.field_info.is_required()]
        if missing := [name for name in required if name not in arguments]:
            raise TypeError(f"{name} needs {', '.join(missing)}")

    def _level(self, arguments: Mapping[str, Any]) -> int:
        if not callable(self.handler.level):
            return self.handler.level
        defaults = {name: f.get_default() for name, f in self._typed.fields.items() if name not in arguments}
        return self.handler.level_of({**defaults, **arguments})


def _one_way(annotation: Any, seen: frozenset[Any] = frozenset()) -> Iterator[str]:
    """Yield the fields of a result that are written under a name, or left out, so that reading misses them."""
    for part in get_args(annotation):
        yield from _one_way(part, seen)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or annotation in seen:
        return
    for name, field in annotation.model_fields.items():
        written = field.serialization_alias or name
        if written not in (name, _name_read(field, name)) or (field.exclude and field.is_required()):
            yield f"{annotation.__name__}.{name}"
        yield from _one_way(field.annotation, seen | {annotation})


def _name_read(field: FieldInfo, name: str) -> str:
    """Return the name under which validation reads a field first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else field.alias or name

"""From a plain route through admission and queue to a handler, and its typed result back.

Owns the way back from typed values to raw arguments. What a request of a queued
route would get as a status, a caller gets as an exception; not caught, it becomes
that very answer. Must not know Redis.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.params import Body
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json
from starlette.requests import ClientDisconnect

from gateway_app.answers import Answer, Draft, Terms, Trouble
from gateway_app.drafts import places_of
from gateway_app.refusals import TooMany
from gateway_app.requests import facts_of
from gateway_app.responses import respond
from gateway_app.terms import Terming
from shared.errors import FloodgateError
from shared.queue.messages import TaskReply
from shared.registry import Handler, Registry
from shared.sealing import is_json

Result = TypeVar("Result")

_OCTETS = b"application/octet-stream"
_JSON = b"application/json"


class CallError(FloodgateError):
    """A call without a result; `answer` is what a client of the route would have got."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.outcome)
        self.answer = answer


class Refused(CallError):
    """There was no room, no worker, or no Redis; nothing ran, and it may be sent again after `retry_after_s`."""

    @property
    def retry_after_s(self) -> float:
        return self.answer.retry_after_s


class Late(CallError):
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
        """Return what the handler gave as `HTTPError.detail`; None when it failed otherwise."""
        if self.answer.reply is None or not self.answer.reply.body:
            return None
        body = from_json(self.answer.reply.body)
        return body.get("detail") if isinstance(body, dict) else body


_RAISES: Mapping[Trouble, type[CallError]] = {
    Trouble.LATE: Late,
    Trouble.LOST: Lost,
    Trouble.UNKNOWN: Lost,
    Trouble.FAILED: HandlerFailed,
}


@overload
async def call(function: Callable[..., Awaitable[Result]], /, *, request: Request, **arguments: Any) -> Result: ...
@overload
async def call(function: Callable[..., Result], /, *, request: Request, **arguments: Any) -> Result: ...
async def call(function: Callable[..., Any], /, *, request: Request, **arguments: Any) -> Any:
    """Send a queued handler through admission and queue and return its result, as its annotation says.

    `request` is the one that the plain route answers: it gives id, caller, and the
    client whose leaving cancels. `arguments` are the handler's own, without context
    and resources. A `Reply` comes back as its body.

    Raises `Refused`, `Late`, `Lost` or `HandlerFailed`; `TypeError` for arguments
    that do not fit, `LookupError` for a function that is not queued, and Starlette's
    `ClientDisconnect` when nobody waits any more.
    """
    callee = request.app.state.callees.find(function)
    facts = facts_of(request.scope)
    terms = callee.terming.terms(request, facts.caller, heed_prefer=False)
    draft = callee.draft(arguments, facts.request_id, terms, facts.caller)
    answer: Answer = await request.app.state.dispatcher.dispatch(callee.handler, draft, request.receive)
    facts.note(answer)
    if answer.trouble is Trouble.LEFT:
        raise ClientDisconnect
    if answer.trouble is not None:
        raise _RAISES.get(answer.trouble, Refused)(answer)
    assert answer.reply is not None
    if answer.reply.status >= 400:
        raise HandlerFailed(answer)
    return callee.result(answer.reply)


class Callees:
    """What can be called; each is prepared with its first call."""

    def __init__(self, registry: Registry) -> None:
        self._handlers = {handler.function: handler for handler in registry.handlers}
        self._prepared: dict[Callable[..., Any], Callee] = {}

    def find(self, function: Callable[..., Any]) -> Callee:
        """Return the prepared function; raises `LookupError`."""
        if function not in self._prepared:
            if function not in self._handlers:
                name = getattr(function, "__qualname__", repr(function))
                raise LookupError(f"{name} is not queued: only a function under @queued can be called")
            self._prepared[function] = Callee(self._handlers[function])
        return self._prepared[function]


class Callee:
    """One handler, as a plain route calls it."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.terming = Terming(handler)
        self._places = places_of(handler)
        self._adapters: dict[str, TypeAdapter[Any]] = {
            name: TypeAdapter(Any if p.annotation is p.empty else p.annotation)
            for name, p in handler.signature.parameters.items()
        }
        empty = handler.result is inspect.Signature.empty
        self._result: TypeAdapter[Any] = TypeAdapter(Any if empty else handler.result)

    def draft(self, arguments: Mapping[str, Any], request_id: str, terms: Terms, caller: Any) -> Draft:
        """Return the raw arguments that give these values; raises `TypeError` when some lack or are unknown."""
        self.handler.signature.bind(**arguments)
        places = self._places
        body, content_type = self._body(arguments)
        headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in self._texts(places.header_params, arguments)]
        if cookies := "; ".join(f"{name}={text}" for name, text in self._texts(places.cookie_params, arguments)):
            headers.append((b"cookie", cookies.encode("latin-1")))
        if content_type:
            headers.append((b"content-type", content_type))
        defaults = {n: p.default for n, p in self.handler.signature.parameters.items() if p.default is not p.empty}
        return Draft(
            request_id=request_id,
            terms=terms,
            path=dict(self._texts(places.path_params, arguments)),
            query=urlencode(self._texts(places.query_params, arguments)),
            headers=tuple((name.lower(), value) for name, value in headers),
            body=body,
            caller=caller,
            level=self.handler.level_of({**defaults, **arguments}),
        )

    def result(self, reply: TaskReply) -> Any:
        """Return the result that a reply carries."""
        kind = next((value.decode("latin-1") for name, value in reply.headers if name == b"content-type"), "")
        if not reply.body and not kind:
            return None
        if is_json(kind):
            return self._result.validate_json(reply.body)
        return reply.body.decode() if self.handler.result is str else reply.body

    def _texts(self, fields: list[Any], arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        pairs: list[tuple[str, str]] = []
        for field in fields:
            if field.name in arguments:
                value = self._plain(field.name, arguments[field.name])
                named = value.items() if isinstance(value, dict) else [(field.alias, value)]
                pairs += [(name, _text(item)) for name, items in named for item in _listed(items)]
        return pairs

    def _body(self, arguments: Mapping[str, Any]) -> tuple[bytes, bytes]:
        fields = [field for field in self._places.body_params if field.name in arguments]
        if not fields:
            return b"", b""
        values = {field.alias: arguments[field.name] for field in fields}
        if len(self._places.body_params) > 1 or _embedded(fields[0].field_info):
            return to_json({field.alias: self._plain(field.name, values[field.alias]) for field in fields}), _JSON
        (value,) = values.values()
        if isinstance(value, bytes):
            return value, _OCTETS
        return to_json(self._plain(fields[0].name, value)), _JSON

    def _plain(self, name: str, value: Any) -> Any:
        return self._adapters[name].dump_python(value, mode="json", by_alias=True)


def _embedded(info: Any) -> bool:
    return isinstance(info, Body) and bool(info.embed)


def _listed(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if item is not None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def answer_call_errors(app: FastAPI) -> None:
    """Let a call's error that a route does not catch become what a queued route answers."""

    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, CallError)
        return respond(error.answer, facts_of(request.scope).request_id)

    async def on_leaving(request: Request, error: Exception) -> Response:
        return respond(Answer(trouble=Trouble.LEFT), facts_of(request.scope).request_id)

    async def on_rate(request: Request, error: Exception) -> Response:
        assert isinstance(error, TooMany)
        return respond(error.answer, facts_of(request.scope).request_id)

    app.add_exception_handler(CallError, on_error)
    app.add_exception_handler(TooMany, on_rate)
    app.add_exception_handler(ClientDisconnect, on_leaving)

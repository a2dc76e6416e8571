"""The queued routes: one typed FastAPI route per handler, and the short way to those without path parameters.

FastAPI validates and documents by its own rules; what travels to the worker is what
came. Who asks is found out first, before the body is read. Must not know Redis.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from copy import copy
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.datastructures import Default
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import Field
from pydantic.fields import FieldInfo
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from floodgate.broker.envelopes import StreamReply
from floodgate.declare.checks import is_json
from floodgate.declare.registry import Handler, Registry
from floodgate.declare.streaming import StreamFormat
from floodgate.declare.typed_arguments import dependant_of
from floodgate.gateway import idempotency
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.idempotency import REPLAYED, KeyReader
from floodgate.gateway.identity import Identity, OutOfTime, within
from floodgate.gateway.middleware import RequestRecord, record_of
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.payload import PayloadBuilder, in_time, limited
from floodgate.gateway.request_options import OptionsReader
from floodgate.gateway.responses import documented, respond
from floodgate.gateway.streaming import StreamResponse

Endpoint = Callable[..., Awaitable[Response]]
Respond = Callable[[Scope, Receive, Send], Awaitable[Response]]

_NO_STACK = AsyncExitStack()
"""FastAPI wants one for forms, files and dependencies, and a queued route has none of these."""
_RAISED = "floodgate_raised"
_REQUEST = "floodgate_request"
"""The parameter through which FastAPI hands over the request; no handler's parameter is called so."""


def add_routes(
    app: FastAPI, registry: Registry, identity: Identity, body_s: float, security: SecurityBase | None
) -> StaticRouteIndex:
    """Add every handler to the application; return those that `FastPath` may answer.

    A body may take `body_s`, or its route's time-out where that is longer. `security`
    is what `/docs` shows as the way to say who asks.
    """
    if security is not None:
        _document(app, security)
    secured: dict[str, Any] = {} if security is None else {"security": [{security.scheme_name: []}]}
    index = StaticRouteIndex()
    app.router.routes.insert(0, index)
    for handler in registry.handlers:
        shown = handler.presentation
        app.router.add_api_route(
            handler.path,
            _endpoint(handler),
            methods=[handler.method],
            name=handler.name,
            status_code=shown.status_code,
            tags=list(shown.tags),
            summary=shown.summary,
            deprecated=shown.deprecated,
            include_in_schema=shown.include_in_schema,
            responses=documented(bool(dependant_of(handler).body_params), handler.idempotency is not None),
            openapi_extra=secured | (idempotency.documented(handler.idempotency) if handler.idempotency else {}),
            **_result(handler),
        )
        route = app.router.routes[-1]
        assert isinstance(route, APIRoute)
        responding = _responding(handler, identity, route, body_s)
        if handler.stream is not None:  # afterwards: FastAPI would take the endpoint for the generator itself
            _document_stream(route, handler)
        route.app = _sending(responding)
        index.add(handler.method, handler.path, route, responding)
    return index


def _document_stream(route: APIRoute, handler: Handler) -> None:
    """Let a route be documented as the generator that it stands for: by what FastAPI finds out about one."""

    async def items(**_: Any) -> Any:
        yield

    item, untyped = handler.result, inspect.Signature.empty
    returned = untyped if item is untyped else AsyncIterable[item]  # type: ignore[valid-type]
    items.__signature__ = _signature(handler).replace(return_annotation=returned)  # type: ignore[attr-defined]
    found = APIRoute(
        handler.path,
        items,
        methods=[handler.method],
        name=route.name,
        response_class=handler.response_class or Default(JSONResponse),
        generate_unique_id_function=route.generate_unique_id_function,
    )
    route.is_sse_stream, route.is_json_stream = found.is_sse_stream, found.is_json_stream
    route.stream_item_type, route.stream_item_field = found.stream_item_type, found.stream_item_field


def _result(handler: Handler) -> dict[str, Any]:
    media_type = handler.presentation.media_type
    if handler.stream is not None:
        if (
            handler.stream is not StreamFormat.BYTES
        ):  # by that of events FastAPI would take the endpoint for the generator
            return {"response_class": StreamingResponse, "response_model": None}
        assert handler.response_class is not None
        media_type = media_type or handler.response_class.media_type
        own = type("Own", (StreamingResponse,), {"media_type": media_type})
        return {"response_class": own, "response_model": None}
    model = None if handler.result in (inspect.Signature.empty, type(None)) else handler.result
    if media_type is None:
        return {"response_model": model}
    json = is_json(media_type)
    response_class = type("Own", (JSONResponse if json else Response,), {"media_type": media_type})
    return {"response_class": response_class, "response_model": model if json else None}


def _responding(handler: Handler, identity: Identity, route: APIRoute, body_s: float) -> Respond:
    """Return what stands in the place of FastAPI's own application of a route.

    Who asks is found out before the body is read; a dependency would be too late.
    The stacks that FastAPI opens for dependencies stay closed: a handler has none.
    """
    validated = route.get_route_handler() if handler.signature.parameters else _without_validation(route)
    options_reader = OptionsReader(handler)
    key_reader = KeyReader(handler, handler.idempotency) if handler.idempotency else None
    most_s = max(handler.timeout_s, body_s) if route.body_field is not None else None

    async def refused(request: Request, record: RequestRecord) -> Outcome | None:
        dispatcher: Dispatcher = request.app.started_engine.dispatcher
        rate_limiter = dispatcher.rate_limiter
        record.meter = dispatcher.metrics.of(handler)
        record.meter.offered()
        # The cheapest refusal first: over the rate, not even `identify` is asked.
        if over := rate_limiter.over_rate(handler.route):
            return over
        try:
            record.caller = await within(handler.timeout_s, identity(request))
        except OutOfTime:
            return Outcome(failure=Failure.DEADLINE_EXCEEDED)
        record.options = options_reader.options(request, record.caller)
        if key_reader is not None:
            if failed := key_reader.read(request, record):
                return failed
            if record.options.record:  # what is known of it decides, and that is in Redis
                return None
        if record.options.async_response and rate_limiter.results_full:
            return Outcome(failure=Failure.RESULTS_FULL)
        return rate_limiter.cached(handler.route, record.options)

    async def responding(scope: Scope, receive: Receive, send: Send) -> Response:
        request, record = Request(scope, receive, send), record_of(scope)
        record.route = handler.label
        if answer := await refused(request, record):
            record.by_memory = True
            record.note(answer)
            return respond(answer, record.request_id)
        scope["fastapi_inner_astack"] = scope["fastapi_function_astack"] = _NO_STACK
        if most_s is not None:
            request = Request(scope, in_time(receive, most_s), send)
        return await validated(request)

    return responding


def _sending(responding: Respond) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response = await responding(scope, receive, send)
        await response(scope, receive, send)

    return serve


def _without_validation(route: APIRoute) -> Callable[[Request], Awaitable[Response]]:
    return lambda request: route.endpoint(**{_REQUEST: request})


def _endpoint(handler: Handler) -> Any:
    payload_builder = PayloadBuilder(handler)
    streams = handler.stream is not None

    async def endpoint(**arguments: Any) -> Response:
        request: Request = arguments[_REQUEST]
        record = record_of(request.scope)
        payload = await payload_builder.payload(request, handler.level_of(arguments))
        dispatcher: Dispatcher = request.app.started_engine.dispatcher
        answer = await dispatcher.dispatch(handler, payload, request.receive)
        record.note(answer)
        if streams and isinstance(answer.reply, StreamReply) and answer.reply.status:
            return StreamResponse(dispatcher.streams, handler, answer, record.request_id)
        return respond(answer, record.request_id, request.scope.get("root_path", ""))

    named: Any = endpoint if handler.idempotency is None else _noting_replays(endpoint)
    named.__name__ = handler.name
    named.__doc__ = handler.function.__doc__
    named.__signature__ = _signature(handler)
    return named


def _noting_replays(endpoint: Endpoint) -> Endpoint:
    async def noting(**arguments: Any) -> Response:
        response = await endpoint(**arguments)
        if record_of(arguments[_REQUEST].scope).outcome == REPLAYED:
            response.headers["idempotent-replayed"] = "true"
        return response

    return noting


def _signature(handler: Handler) -> inspect.Signature:
    own = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    examples = handler.presentation.examples
    parameters = [
        _with_examples(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY), examples.get(parameter.name))
        for parameter in handler.signature.parameters.values()
    ]
    return handler.signature.replace(parameters=[*parameters, own])


def _with_examples(parameter: inspect.Parameter, examples: Sequence[Any] | None) -> inspect.Parameter:
    if examples is None:
        return parameter
    if isinstance(parameter.default, FieldInfo):  # beside such a default, FastAPI reads nothing out of `Annotated`
        marker = copy(parameter.default)
        marker.examples = list(examples)
        return parameter.replace(default=marker)
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    return parameter.replace(annotation=Annotated[annotation, Field(examples=list(examples))])


def _document(app: FastAPI, security: SecurityBase) -> None:
    """Add the scheme to the OpenAPI document, in the way FastAPI asks for: by replacing `app.openapi`."""
    original = app.openapi
    scheme = {security.scheme_name: security.model.model_dump(mode="json", by_alias=True, exclude_none=True)}

    def openapi() -> dict[str, Any]:
        document = original()
        document.setdefault("components", {}).setdefault("securitySchemes", {}).update(scheme)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


class StaticRouteIndex(BaseRoute):
    """The queued routes without path parameters by method and path, for `FastPath`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], tuple[APIRoute, Respond]] = {}

    def add(self, method: str, path: str, route: APIRoute, respond: Respond) -> None:
        """Answer this path by this route; one with path parameters is left to the router."""
        if "{" not in path:
            self.known.setdefault((method, path), (route, respond))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only what `FastPath` hands over: instrumentation asks for a route's path, and has to find the route."""
        return (Match.FULL if _RAISED in scope else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Find nothing: the routes themselves stand further down, and know their names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise the exception of a known route inside of FastAPI's layers, which answer it."""
        raise scope.pop(_RAISED)


class FastPath:
    """Innermost of the middleware: answers what `routes` knows, lets the router answer the rest; limits both bodies.

    FastAPI tries its routes one after the other, and enters layers that only wait for
    an exception; for a queued request that costs as much as all of the gateway's own
    work. An exception that comes before the answer goes through these layers all the
    same, once, so that the handlers of FastAPI and of the user see it.

    A body's 413 is raised here: outside a user's middleware it would arrive wrapped, as something else.
    """

    def __init__(self, app: ASGIApp, routes: StaticRouteIndex, max_body_bytes: int) -> None:
        self._app = app
        self._known = routes.known
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        receive = limited(receive, scope["headers"], self._max_body_bytes)
        found = self._known.get((scope["method"], scope["path"]))
        # Below a root path the router has to find out what the path is; spans need the router to name the route.
        if found is None or scope.get("root_path") or "fastapi.telemetry" in scope:
            await self._app(scope, receive, send)
            return
        route, respond = found
        scope["endpoint"], scope["route"], scope["path_params"] = route.endpoint, route, {}
        scope["fastapi_middleware_astack"] = _NO_STACK
        try:
            response = await respond(scope, receive, send)
        except Exception as error:
            scope[_RAISED] = error
            await self._app(scope, receive, send)
        else:
            await response(scope, receive, send)

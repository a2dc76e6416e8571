"""One typed FastAPI route per handler, built from its signature.

FastAPI validates and documents by its own rules; what travels is what came. Who
asks is found out first, before the body is read. Must not know Redis.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from copy import copy
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import Field
from pydantic.fields import FieldInfo
from starlette.types import ASGIApp, Receive, Scope, Send

from floodgate.declare.checks import is_json
from floodgate.declare.context import Caller
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.bodies import in_time
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.identity import within
from floodgate.gateway.middleware import RequestRecord, record_of
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.payload import PayloadBuilder, places_of
from floodgate.gateway.request_options import OptionsReader
from floodgate.gateway.responses import documented, respond
from floodgate.gateway.static_routes import NO_STACK, Respond, StaticRouteIndex

Identify = Callable[[Request], Coroutine[Any, Any, Caller | None]]

_REQUEST = "floodgate_request"
"""The parameter through which FastAPI hands over the request; no handler's parameter is called so."""


def add_routes(
    app: FastAPI, registry: Registry, identify: Identify, body_s: float = 10, security: SecurityBase | None = None
) -> StaticRouteIndex:
    """Add every handler to the application; return those that `FastPath` may answer.

    `app.state.dispatcher` is looked up per request. A body may take `body_s`, or its
    route's time-out where that is longer. `security` is what `/docs` shows as the way to say who asks.
    """
    if security is not None:
        _document(app, security)
    secured: dict[str, Any] | None = None if security is None else {"security": [{security.scheme_name: []}]}
    exact = StaticRouteIndex()
    app.router.routes.insert(0, exact)
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
            responses=documented(bool(places_of(handler).body_params)),
            openapi_extra=secured,
            **_result(handler),
        )
        route = app.router.routes[-1]
        assert isinstance(route, APIRoute)
        respond = _responding(handler, identify, route, body_s)
        route.app = _sending(respond)
        exact.add(handler.method, handler.path, route, respond)
    return exact


def _result(handler: Handler) -> dict[str, Any]:
    media_type = handler.presentation.media_type
    model = None if handler.result in (inspect.Signature.empty, type(None)) else handler.result
    if media_type is None:
        return {"response_model": model}
    json = is_json(media_type)
    response_class = type("Own", (JSONResponse if json else Response,), {"media_type": media_type})
    return {"response_class": response_class, "response_model": model if json else None}


def _responding(handler: Handler, identify: Identify, route: APIRoute, body_s: float) -> Respond:
    """Return what stands in the place of FastAPI's own application of a route.

    Who asks is found out before the body is read; a dependency would be too late.
    The stacks that FastAPI opens for dependencies stay closed: a handler has none.
    """
    validated = route.get_route_handler() if handler.signature.parameters else _without_validation(route.endpoint)
    options_reader = OptionsReader(handler)
    most_s = max(handler.timeout_s, body_s) if route.body_field is not None else None

    async def refused(request: Request, record: RequestRecord) -> Outcome | None:
        dispatcher: Dispatcher = request.app.state.dispatcher
        refusals = dispatcher.refusals
        record.meter = dispatcher.metering.of(handler)
        record.meter.offered()
        if over := refusals.over_rate(handler.route):
            return over
        limit = asyncio.timeout(handler.timeout_s)
        try:
            record.caller = await within(limit, identify(request))
        except TimeoutError:
            if not limit.expired():
                raise
            return Outcome(failure=Failure.LATE)
        record.options = options_reader.options(request, record.caller)
        if record.options.async_response and refusals.results_full:
            return Outcome(failure=Failure.RESULTS_FULL)
        return refusals.remembered(handler.route, record.options)

    async def responding(scope: Scope, receive: Receive, send: Send) -> Response:
        request, record = Request(scope, receive, send), record_of(scope)
        record.route = handler.label
        if answer := await refused(request, record):
            record.at_door = True
            record.note(answer)
            return respond(answer, record.request_id)
        scope["fastapi_inner_astack"] = scope["fastapi_function_astack"] = NO_STACK
        if most_s is not None:
            request = Request(scope, in_time(receive, most_s), send)
        return await validated(request)

    return responding


def _sending(responding: Respond) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response = await responding(scope, receive, send)
        await response(scope, receive, send)

    return serve


def _without_validation(endpoint: Any) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        response: Response = await endpoint(**{_REQUEST: request})
        return response

    return answer


def _endpoint(handler: Handler) -> Any:
    payload_builder = PayloadBuilder(handler)

    async def endpoint(**arguments: Any) -> Response:
        request: Request = arguments[_REQUEST]
        record = record_of(request.scope)
        payload = await payload_builder.payload(request, handler.level_of(arguments))
        dispatcher: Dispatcher = request.app.state.dispatcher
        answer = await dispatcher.dispatch(handler, payload, request.receive)
        record.note(answer)
        return respond(answer, record.request_id, request.scope.get("root_path", ""))

    endpoint.__name__ = handler.name
    endpoint.__doc__ = handler.function.__doc__
    endpoint.__signature__ = _signature(handler)  # type: ignore[attr-defined]
    return endpoint


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

"""One typed FastAPI route per handler, built from its signature.

FastAPI validates and documents by its own rules; what travels is what came. Who
asks is found out first, before the body is read. Must not know Redis.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import Field

from gateway_app.answers import Answer, Trouble
from gateway_app.dispatcher import Dispatcher
from gateway_app.drafts import Drafter
from gateway_app.requests import facts_of
from gateway_app.responses import documented, respond
from shared.context import Caller
from shared.registry import Handler, Registry
from shared.sealing import is_json

Identify = Callable[[Request], Awaitable[Caller | None]]

_REQUEST = "floodgate_request"
"""The parameter through which FastAPI hands over the request; no handler's parameter is called so."""


def add_routes(app: FastAPI, registry: Registry, identify: Identify, security: SecurityBase | None = None) -> None:
    """Add every handler to the application; `app.state.dispatcher` is looked up per request.

    `security` is what `/docs` shows as the way to say who asks.
    """
    if security is not None:
        _document(app, security)
    secured: dict[str, Any] | None = None if security is None else {"security": [{security.scheme_name: []}]}
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
            responses=documented(),
            openapi_extra=secured,
            route_class_override=_identifying(handler, identify),
            **_result(handler),
        )


def _result(handler: Handler) -> dict[str, Any]:
    media_type = handler.presentation.media_type
    if media_type is None:
        return {"response_model": None if handler.result is inspect.Signature.empty else handler.result}
    response_class = type("Raw", (Response,), {"media_type": media_type})
    return {"response_class": response_class, "response_model": handler.result if is_json(media_type) else None}


def _identifying(handler: Handler, identify: Identify) -> type[APIRoute]:
    """Return a route class that finds out who asks before FastAPI reads the body; a dependency would be too late."""

    class IdentifyingRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            handle = super().get_route_handler()

            async def identified(request: Request) -> Response:
                facts = facts_of(request.scope)
                facts.route = handler.label
                try:
                    async with asyncio.timeout(handler.timeout_s):
                        facts.caller = await identify(request)
                except TimeoutError:
                    return respond(Answer(trouble=Trouble.LATE), facts.request_id)
                return await handle(request)

            return identified

    return IdentifyingRoute


def _endpoint(handler: Handler) -> Any:
    drafter = Drafter(handler)

    async def endpoint(**arguments: Any) -> Response:
        request: Request = arguments[_REQUEST]
        facts = facts_of(request.scope)
        draft = await drafter.draft(request, handler.level_of(arguments))
        dispatcher: Dispatcher = request.app.state.dispatcher
        answer = await dispatcher.dispatch(handler, draft, request.receive)
        facts.note(answer)
        return respond(answer, facts.request_id)

    endpoint.__name__ = handler.name
    endpoint.__doc__ = handler.function.__doc__
    endpoint.__signature__ = _signature(handler)  # type: ignore[attr-defined]
    return endpoint


def _signature(handler: Handler) -> inspect.Signature:
    own = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    parameters = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            annotation=_with_examples(parameter.annotation, handler.presentation.examples.get(parameter.name)),
        )
        for parameter in handler.signature.parameters.values()
    ]
    return handler.signature.replace(parameters=[*parameters, own])


def _with_examples(annotation: Any, examples: Sequence[Any] | None) -> Any:
    return annotation if examples is None else Annotated[annotation, Field(examples=list(examples))]


def _document(app: FastAPI, security: SecurityBase) -> None:
    """Add the scheme to the OpenAPI document, in the way FastAPI asks for: by replacing `app.openapi`."""
    original = app.openapi
    scheme = {security.scheme_name: security.model.model_dump(mode="json", by_alias=True, exclude_none=True)}

    def openapi() -> dict[str, Any]:
        document = original()
        document.setdefault("components", {}).setdefault("securitySchemes", {}).update(scheme)
        return document

    app.openapi = openapi  # type: ignore[method-assign]

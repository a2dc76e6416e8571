"""One typed FastAPI route per handler, built from its signature.

FastAPI validates and documents by its own rules; what travels is what came: raw
strings and raw body bytes. Must not know Redis.
"""

from __future__ import annotations

import inspect
from typing import Any

from fastapi import FastAPI, Request, Response

from gateway_app.answers import Draft
from gateway_app.dispatcher import Dispatcher
from gateway_app.requests import facts_of
from gateway_app.responses import documented, respond
from shared.registry import Handler, Registry

_REQUEST = "floodgate_request"
"""The parameter through which FastAPI hands over the request; no handler's parameter is called so."""


def add_routes(app: FastAPI, registry: Registry) -> None:
    """Add every handler to the application; `app.state.dispatcher` is looked up per request."""
    for handler in registry.handlers:
        app.add_api_route(
            handler.path,
            _endpoint(handler),
            methods=[handler.method],
            response_model=_response_model(handler),
            name=handler.name,
            responses=documented(),
        )


def _response_model(handler: Handler) -> Any:
    returned = handler.signature.return_annotation
    return None if returned is handler.signature.empty else returned


def _endpoint(handler: Handler) -> Any:
    reads_query = bool(handler.signature.parameters)

    async def endpoint(**arguments: Any) -> Response:
        request: Request = arguments[_REQUEST]
        facts = facts_of(request.scope)
        facts.route = handler.label
        draft = Draft(
            request_id=facts.request_id,
            path={name: str(value) for name, value in request.path_params.items()},
            query=request.scope["query_string"].decode("latin-1") if reads_query else "",
            content_type=request.headers.get("content-type"),
            body=await request.body() if reads_query else b"",
        )
        dispatcher: Dispatcher = request.app.state.dispatcher
        answer = await dispatcher.dispatch(handler, draft, request.receive)
        facts.outcome = answer.outcome
        if answer.reply is not None:
            facts.wait_ms, facts.run_ms = answer.reply.wait_ms, answer.reply.run_ms
        return respond(answer, facts.request_id)

    endpoint.__name__ = handler.name
    endpoint.__doc__ = handler.function.__doc__
    endpoint.__signature__ = _signature(handler.signature)  # type: ignore[attr-defined]
    return endpoint


def _signature(signature: inspect.Signature) -> inspect.Signature:
    own = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    return signature.replace(parameters=[*keyword_only, own])

"""Turns a task into the keyword arguments of its handler; all that can be is prepared once, at start.

FastAPI's own validation reads the raw arguments again, so the handler gets real
types by exactly the rules by which the gateway accepted them; those of a `call` have
their types already. Must not know queues: a task in, keyword arguments out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.routing import APIRoute

from floodgate.broker.envelopes import Task
from floodgate.declare.registry import Handler, Registry
from floodgate.declare.typed_arguments import TYPED, TypedArguments
from floodgate.errors import DeclarationError
from floodgate.worker.items import ItemEncoder
from floodgate.worker.resources import Resources
from floodgate.worker.serialization import Serializer

_NO_STACK = AsyncExitStack()
"""FastAPI looks for it in the scope; nothing that a handler may declare enters one."""


class _Captured(Response):
    """Carries the validated arguments out of FastAPI's machinery."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """A handler with what makes its arguments and what serializes its result."""

    handler: Handler
    serialize: Serializer
    _read: Callable[[Task], Awaitable[dict[str, Any]]]
    _typed: TypedArguments
    _resources: Resources
    encoder: ItemEncoder | None = None
    """Of a handler that yields."""

    async def arguments(self, task: Task) -> dict[str, Any]:
        """Return the keyword arguments; raises FastAPI's `RequestValidationError`."""
        if task.headers == TYPED:
            arguments = self._typed.load(task.body)
        else:
            arguments = await self._read(task) if self.handler.signature.parameters else {}
        for name, resource in self.handler.resources.items():
            arguments[name] = self._resources.get(resource)
        return arguments


def handler_calls(registry: Registry, resources: Resources) -> Mapping[str, HandlerCall]:
    """Return what is called for the tasks of each route."""
    return {handler.route: _handler_call(handler, resources) for handler in registry.handlers}


def _handler_call(handler: Handler, resources: Resources) -> HandlerCall:
    async def capture(**values: Any) -> Response:
        return _Captured(values)

    capture.__signature__ = handler.signature.replace(return_annotation=Response)  # type: ignore[attr-defined]
    try:
        route = APIRoute(handler.path, capture, methods=[handler.method], response_model=None)
    except (AssertionError, FastAPIError) as error:
        raise DeclarationError(f"{handler.source}: {handler.name}: {error}") from error
    has_body = bool(route.dependant.body_params)
    read = _body_reader(handler, route) if has_body else _head_reader(handler, route.dependant)
    encoder = None if handler.stream is None else ItemEncoder(handler)
    return HandlerCall(handler, Serializer(handler), read, TypedArguments(route.dependant), resources, encoder)


def _body_reader(handler: Handler, route: APIRoute) -> Callable[[Task], Awaitable[dict[str, Any]]]:
    """Let FastAPI's own route read the whole request."""
    handle = route.get_route_handler()

    async def read(task: Task) -> dict[str, Any]:
        response = await handle(_request(handler, task))
        assert isinstance(response, _Captured)
        return response.values

    return read


def _head_reader(handler: Handler, dependant: Dependant) -> Callable[[Task], Awaitable[dict[str, Any]]]:
    """Let FastAPI read only path, query, headers and cookies: without a body, this takes a quarter of the time."""

    async def read(task: Task) -> dict[str, Any]:
        request = _request(handler, task)
        values, errors = request_params_to_args(dependant.path_params, task.path)
        if dependant.query_params:
            _add(values, errors, request_params_to_args(dependant.query_params, request.query_params))
        if dependant.header_params:
            _add(values, errors, request_params_to_args(dependant.header_params, request.headers))
        if dependant.cookie_params:
            _add(values, errors, request_params_to_args(dependant.cookie_params, request.cookies))
        if errors:
            raise RequestValidationError(errors)
        return values

    return read


def _add(values: dict[str, Any], errors: list[Any], more: tuple[dict[str, Any], list[Any]]) -> None:
    values.update(more[0])
    errors.extend(more[1])


def _request(handler: Handler, task: Task) -> Request:
    scope = {
        "type": "http",
        "method": handler.method,
        "path": handler.path,
        "query_string": task.query.encode("latin-1", "replace"),
        "headers": list(task.headers),
        "path_params": task.path,
        "fastapi_middleware_astack": _NO_STACK,
        "fastapi_inner_astack": _NO_STACK,
        "fastapi_function_astack": _NO_STACK,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": task.body, "more_body": False}

    return Request(scope, receive)

"""How one handler is fed, prepared once at start.

FastAPI's own validation reads the raw arguments again, so the handler gets real
types by exactly the rules by which the gateway accepted them. Must not know
queues: a task in, keyword arguments out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from shared.queue.messages import Task
from shared.registry import Handler, Registry
from worker_app.rendering import Renderer
from worker_app.resources import Resources


class _Captured(Response):
    """Carries the validated arguments out of FastAPI's machinery."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values


@dataclass(frozen=True, slots=True)
class Plan:
    """A handler with the two ends of its run."""

    handler: Handler
    render: Renderer
    _route: Callable[[Request], Any]
    _resources: Resources

    async def arguments(self, task: Task) -> dict[str, Any]:
        """Return the keyword arguments; raises FastAPI's `RequestValidationError`."""
        arguments: dict[str, Any] = {}
        if self.handler.signature.parameters:
            response = await self._route(_request(self.handler, task))
            assert isinstance(response, _Captured)
            arguments = response.values
        for name, resource in self.handler.resources.items():
            arguments[name] = self._resources.get(resource)
        return arguments


def plans(registry: Registry, resources: Resources) -> Mapping[str, Plan]:
    """Return the worker's route table: route to plan."""
    return {
        handler.route: Plan(handler, Renderer(handler), _reader(handler), resources) for handler in registry.handlers
    }


def _reader(handler: Handler) -> Callable[[Request], Any]:
    async def capture(**values: Any) -> Response:
        return _Captured(values)

    capture.__signature__ = handler.signature.replace(return_annotation=Response)  # type: ignore[attr-defined]
    route = APIRoute(handler.path, capture, methods=[handler.method], response_model=None)
    return route.get_route_handler()


def _request(handler: Handler, task: Task) -> Request:
    stack = AsyncExitStack()  # FastAPI wants them; nothing that a handler may declare enters one
    scope = {
        "type": "http",
        "method": handler.method,
        "path": handler.path,
        "query_string": task.query.encode("latin-1", "replace"),
        "headers": [*task.headers, (b"content-length", str(len(task.body)).encode())],
        "path_params": task.path,
        "fastapi_middleware_astack": stack,
        "fastapi_inner_astack": stack,
        "fastapi_function_astack": stack,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": task.body, "more_body": False}

    return Request(scope, receive)

"""How one handler is fed and its result rendered, prepared once at start.

FastAPI's own validation reads the raw arguments again, so the handler gets real
types by exactly the rules by which the gateway accepted them. Must not know
queues: a task in, keyword arguments out; a result in, bytes out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from shared.queue.messages import Task
from shared.registry import Handler, Registry

JSON = "application/json"


class _Captured(Response):
    """Carries the validated arguments out of FastAPI's machinery."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values


@dataclass(frozen=True, slots=True)
class Plan:
    """A handler with the two ends of its run."""

    handler: Handler
    render: Callable[[Any], bytes]
    """Result to final body; raises whatever pydantic does when it does not fit the annotation."""
    _route: Callable[[Request], Any]

    async def arguments(self, task: Task) -> dict[str, Any]:
        """Return the keyword arguments; raises FastAPI's `RequestValidationError`."""
        if not self.handler.signature.parameters:
            return {}
        response = await self._route(_request(self.handler, task))
        assert isinstance(response, _Captured)
        return response.values


def plans(registry: Registry) -> Mapping[str, Plan]:
    """Return the worker's route table: route to plan."""
    return {handler.route: _plan(handler) for handler in registry.handlers}


def _plan(handler: Handler) -> Plan:
    async def capture(**values: Any) -> Response:
        return _Captured(values)

    capture.__signature__ = handler.signature.replace(return_annotation=Response)  # type: ignore[attr-defined]
    route = APIRoute(handler.path, capture, methods=[handler.method], response_model=None)
    return Plan(handler, _renderer(handler), route.get_route_handler())


def _renderer(handler: Handler) -> Callable[[Any], bytes]:
    annotation = handler.signature.return_annotation
    if annotation is handler.signature.empty:
        return lambda result: json.dumps(
            jsonable_encoder(result), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def render(result: Any) -> bytes:
        return adapter.dump_json(adapter.validate_python(result, from_attributes=True), by_alias=True, warnings="error")

    return render


def _request(handler: Handler, task: Task) -> Request:
    headers = [(b"content-length", str(len(task.body)).encode())]
    if task.content_type is not None:
        headers.append((b"content-type", task.content_type.encode("latin-1", "replace")))
    stack = AsyncExitStack()  # FastAPI wants them; nothing that a handler may declare enters one
    scope = {
        "type": "http",
        "method": handler.method,
        "path": handler.path,
        "query_string": task.query.encode("latin-1", "replace"),
        "headers": headers,
        "path_params": task.path,
        "fastapi_middleware_astack": stack,
        "fastapi_inner_astack": stack,
        "fastapi_function_astack": stack,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": task.body, "more_body": False}

    return Request(scope, receive)

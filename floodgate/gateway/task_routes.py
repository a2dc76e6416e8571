"""`/tasks/{id}`: where the client of a 202 asks for the state, fetches the result, or ends the task."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from floodgate.declare.registry import Registry
from floodgate.errors import FloodgateError
from floodgate.gateway.middleware import record_of
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.responses import pending, respond, unknown_task


def add_tasks(app: FastAPI, registry: Registry) -> None:
    """Add the two routes, if a handler may be asked without waiting."""
    if any(handler.admission.async_timeout_s is not None for handler in registry.handlers):
        app.add_api_route("/tasks/{task_id}", _find, methods=["GET"], name="task", tags=["tasks"])
        app.add_api_route(
            "/tasks/{task_id}", _end, methods=["DELETE"], name="end_task", tags=["tasks"], status_code=204
        )


async def _find(request: Request, task_id: str) -> Response:
    """Return the handler's answer once it is there, until then 202 with the state; 404 when neither is known."""
    record = record_of(request.scope)
    try:
        found = await request.app.engine.results.find(task_id)
    except FloodgateError:
        return respond(Outcome(failure=Failure.UNAVAILABLE), record.request_id)
    if found is None:
        return unknown_task(record.request_id)
    if isinstance(found, str):
        return pending(task_id, found, record.request_id, request.scope.get("root_path", ""))
    record.note(found)
    return respond(found, record.request_id)


async def _end(request: Request, task_id: str) -> Response:
    """Cancel the task, or drop its result: 204; 404 when neither is there."""
    record = record_of(request.scope)
    try:
        ended = await request.app.engine.results.end(task_id)
    except FloodgateError:
        return respond(Outcome(failure=Failure.UNAVAILABLE), record.request_id)
    return Response(status_code=204) if ended else unknown_task(record.request_id)

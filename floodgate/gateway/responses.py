"""Renders an outcome as HTTP: status, headers and problem document (RFC 9457).

Never shows the text of an exception: a failed handler is a status, a title and
the request id, under which the worker logged the rest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from floodgate.gateway.outcomes import Outcome, Row

PROBLEM_JSON = "application/problem+json"
_READABLE: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: value.decode("utf-8", "replace"),
    str: lambda value: value.encode("utf-8", "replace").decode(),
    float: lambda value: value if math.isfinite(value) else str(value),
}
"""How an invalid value is shown that JSON has no form for."""
REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
"""Problem type of RFC 9457's registry for a server that is short of capacity."""


_INVALID = {"type": "object", "properties": {"detail": {"type": "array", "items": {"type": "object"}}}}
_DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}


class Problem(BaseModel):
    """What a client gets instead of an answer (RFC 9457)."""

    type: str = Field(description="a URI that names the kind of problem")
    title: str
    status: int
    detail: str
    request_id: str = Field(description="also in the header X-Request-ID; quote it when you ask")


class Pending(BaseModel):
    """Where a task stands whose client did not want to wait."""

    id: str
    state: str = Field(description="waiting or running")
    request_id: str


def respond(answer: Outcome, request_id: str, root_path: str = "") -> Response:
    """Return the response of a queued route; `root_path` is what stands before all paths, for the place of a 202."""
    if answer.failure is not None:
        return problem(answer.failure.row, request_id, answer.retry_after_s)
    if answer.accepted is not None:
        return pending(answer.accepted, "waiting", request_id, root_path)
    reply = answer.reply
    assert reply is not None
    response = Response(reply.body, reply.status)
    response.raw_headers.extend(reply.headers)
    return response


async def invalid(request: Request, error: Exception) -> Response:
    """Return FastAPI's own 422, also for a raw body that is not UTF-8, over which FastAPI's handler stumbles."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": jsonable_encoder(error.errors(), custom_encoder=dict(_READABLE))}, 422)


def pending(task_id: str, state: str, request_id: str, root_path: str) -> Response:
    """Return 202 (RFC 7240): where the result will be, and when to look again."""
    body = Pending(id=task_id, state=state, request_id=request_id)
    headers = {"location": f"{root_path}/tasks/{task_id}", "retry-after": "1", "preference-applied": "respond-async"}
    return Response(body.model_dump_json(), 202, headers, "application/json")


def unknown_task(request_id: str) -> Response:
    """Return what an id gets that is wrong, or whose result has been dropped."""
    return problem(Row(404, "Unknown task", "There is no such task, or its result is no longer kept."), request_id)


def head_too_large(request_id: str) -> Response:
    """Return 431, and end the connection: a body may follow that nobody reads."""
    response = problem(Row(431, "Head too large", "The request has more than 64 KiB of headers."), request_id)
    response.headers["connection"] = "close"
    return response


def problem_of(row: Row, request_id: str) -> Problem:
    """Return the problem document of a failure."""
    kind = REDUCED if row.status == 503 else "about:blank"
    return Problem(type=kind, title=row.title, status=row.status, detail=row.detail, request_id=request_id)


def problem(row: Row, request_id: str, retry_after_s: float = 0) -> Response:
    """Render a failure as a problem document."""
    body = problem_of(row, request_id)
    headers = {} if row.retry_after_s is None else {"retry-after": str(spread(retry_after_s or row.retry_after_s))}
    return Response(body.model_dump_json(), row.status, headers, PROBLEM_JSON)


def spread(bare_s: float) -> int:
    """Return a Retry-After of 1 to 60 s, drawn per client, so that those refused together do not come back together."""
    return min(60, max(1, math.ceil(bare_s * random.uniform(0.5, 1.5))))


def documented(reads_body: bool, idempotent: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the refusals for OpenAPI: problem documents alone, with their schema, and FastAPI's own of a body."""
    texts = {
        429: "Refused: over the rate, or over the caller's share. It may be sent again; see Retry-After.",
        500: "The request failed. Its id leads to the reason in the log.",
        502: "The worker was lost or the outcome is unknown: the request may have been carried out.",
        503: "Refused: no capacity, no worker, paused, or no queue. It may be sent again; see Retry-After.",
        504: "Admitted, but not answered in time.",
    }
    content = {PROBLEM_JSON: {"schema": Problem.model_json_schema()}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": content} for status, text in texts.items()
    }
    detail = {"application/json": {"schema": _DETAIL}}
    if reads_body:
        found[400] = {"description": "The body cannot be read.", "content": detail}
        found[408] = {"description": "The body did not come in time.", "content": detail}
    if idempotent:
        text = "The Idempotency-Key is malformed, missing, or of nobody; or the body cannot be read."
        found[400] = {"description": text, "content": content | (detail if reads_body else {})}
        found[409] = {
            "description": "Too many requests wait for this Idempotency-Key; see Retry-After.",
            "content": content,
        }
        invalid = {"application/json": {"schema": _INVALID}}
        found[422] = {
            "description": "The request is not valid, or its Idempotency-Key was sent with another one.",
            "content": content | invalid,
        }
    return found

"""What every request passes first and last: its id, its record, its line in the log.

A plain ASGI middleware: Starlette's `BaseHTTPMiddleware` would hide a client
that leaves. Engine paths go to the ops endpoints: no router and no middleware of the
user's sees them, and they are not logged.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from floodgate.declare.context import Caller
from floodgate.gateway.connections import PIECE_BYTES, LargeAnswers, StreamBroken, connection_of
from floodgate.gateway.metrics import RouteMetrics
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.request_options import RequestOptions
from floodgate.gateway.responses import head_too_large
from floodgate.operations.endpoints import is_engine_path
from floodgate.operations.logs import fields, gatherer_for, line_of, shown, to_json

log = logging.getLogger("floodgate.request")


HEADER = b"x-request-id"
SCOPE_KEY = "floodgate"
MOST_HEAD_BYTES = 64 * 1024
"""Of all header names and values, which may travel to Redis; uvicorn itself has no limit."""
_ERROR = "floodgate_error"
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NO_OPTIONS = RequestOptions(0)
"""Of a request whose route has not read its head yet."""


@dataclass(slots=True)
class RequestRecord:
    """What the log line of one request says; filled in on the way."""

    request_id: str
    route: str = ""
    outcome: str = ""
    predicted_ms: int = 0
    wait_ms: int = 0
    run_ms: int = 0
    status: int = 0
    started: bool = False
    """Its answer has begun."""
    caller: Caller | None = None
    options: RequestOptions = _NO_OPTIONS
    by_memory: bool = False
    """It was refused here, without asking Redis."""
    meter: RouteMetrics | None = None

    def note(self, answer: Outcome) -> None:
        """Take over what the queue says of the request."""
        self.outcome, self.predicted_ms = answer.outcome, answer.predicted_ms
        if answer.reply is not None:
            self.wait_ms, self.run_ms = answer.reply.wait_ms, answer.reply.run_ms


def record_of(scope: MutableMapping[str, Any]) -> RequestRecord:
    """Return the record that the middleware put into the scope."""
    record: RequestRecord = scope[SCOPE_KEY]
    return record


class Gateway(Protocol):
    """The application around the middleware."""

    @property
    def draining(self) -> bool:
        """Tell whether answers should end their connection."""

    def count_other(self, status: int) -> None:
        """Count an answer to what is not queued."""


class RequestMiddleware:
    """Outermost; `ops` answers what is under `/-/`."""

    def __init__(self, app: ASGIApp, ops: ASGIApp, gateway: Gateway, large_answers: LargeAnswers) -> None:
        self._app = app
        self._ops = ops
        self._gateway = gateway
        self._large_answers = large_answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        connection = connection_of(scope, send)
        record = scope[SCOPE_KEY] = RequestRecord(_request_id(scope["headers"]))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status, record.started = message["status"], True
                message["headers"] = [*message.get("headers", ()), (HEADER, record.request_id.encode())]
                if self._gateway.draining:
                    message["headers"].append((b"connection", b"close"))
            try:
                if len(message.get("body", b"")) <= PIECE_BYTES:
                    await send(message)
                elif not await self._large_answers.send(message, send, connection, record.request_id):
                    record.outcome = Failure.CLIENT_LEFT.label
            except RuntimeError:
                if not connection.is_closed:
                    raise
                record.outcome = Failure.CLIENT_LEFT.label
                connection.give_up()

        app = self._app
        if sum(map(len, chain.from_iterable(scope["headers"]))) > MOST_HEAD_BYTES:
            app = head_too_large(record.request_id)
        elif is_engine_path(scope):
            await self._ops(scope, receive, send_with_id)
            return
        # Counted and logged in `finally`: also a request whose client left, or whose server was told to end.
        try:
            await app(scope, receive, send_with_id)
        except StreamBroken as broken:
            if not connection.sever(broken.reset or scope["http_version"] == "1.0"):
                raise  # to the server, which ends the connection
        except Exception:  # Starlette answers it, further out
            record.status, record.outcome = record.status or 500, record.outcome or Failure.FAILED.label
            raise
        finally:
            total_s = time.monotonic() - started_s
            if (meter := record.meter) is not None:
                meter.ended(record.status, record.outcome, record.by_memory, record.wait_ms, record.run_ms, total_s)
            else:
                self._gateway.count_other(record.status)
            _write(scope, record, total_s)


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == HEADER and _GOOD_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(8)


def _write(scope: Scope, record: RequestRecord, total_s: float) -> None:
    route = record.route or shown(f"{scope['method']} {scope['path']}")
    caller = None if record.caller is None else shown(record.caller.id)
    total_ms = round(total_s * 1000)
    if gatherer := gatherer_for(log):  # a record and its formatting take eight times as long
        who = "" if caller is None else f', "caller": {to_json(caller)}'
        gatherer.add(
            f'{line_of(log.name, "request")}"request_id": "{record.request_id}", "route": {to_json(route)}, '
            f'"status": {record.status}, "outcome": "{record.outcome}", "total_ms": {total_ms}, '
            f'"predicted_ms": {record.predicted_ms}, "wait_ms": {record.wait_ms}, "run_ms": {record.run_ms}{who}}}\n'
        )
        return
    log.info(
        "request",
        extra=fields(
            request_id=record.request_id,
            route=route,
            status=record.status,
            outcome=record.outcome,
            total_ms=total_ms,
            predicted_ms=record.predicted_ms,
            wait_ms=record.wait_ms,
            run_ms=record.run_ms,
            **({} if caller is None else {"caller": caller}),
        ),
    )


class ErrorsLast:
    """Outermost: begins at `RequestMiddleware`, and enters Starlette's error layer only with an error.

    Where anything else than FastAPI's own layers stands before it, nothing is left out.
    """

    def __init__(self, stack: ASGIApp, on_error: ExceptionHandler | None, debug: bool) -> None:
        self._stack = stack
        self._first = _past_layers_of_fastapi(stack)
        self._errors = ServerErrorMiddleware(_raise, handler=on_error, debug=debug)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "fastapi.telemetry" in scope:
            await self._stack(scope, receive, send)
            return
        try:
            await self._first(scope, receive, send)
        except Exception as error:
            if self._first is self._stack:
                raise
            scope[_ERROR] = error
            # The user's handler hears of an error after the answer has begun, too; what it returns goes nowhere.
            await self._errors(scope, receive, _drop if record_of(scope).started else send)


def _past_layers_of_fastapi(stack: ASGIApp) -> ASGIApp:
    app = stack
    while not isinstance(app, RequestMiddleware):
        if type(app).__module__.partition(".")[0] not in ("starlette", "fastapi"):
            return stack
        app = app.app  # type: ignore[attr-defined]
    return app


async def _drop(message: Message) -> None:
    pass


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    raise scope.pop(_ERROR)

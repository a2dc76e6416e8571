"""What every request passes: its id, its body's limit, its line in the log.

A plain ASGI middleware: Starlette's `BaseHTTPMiddleware` would hide a client
that leaves. Engine paths go to their gate: no router and no middleware of a user's
sees them, and they are not logged.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from gateway_app.answers import Answer, Terms, Trouble
from gateway_app.metering import RouteMeter
from shared.context import Caller
from shared.gate import is_engine_path
from shared.logs import fields, gatherer_for, line_of, shown, to_json

log = logging.getLogger("floodgate.request")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADER = b"x-request-id"
SCOPE_KEY = "floodgate"
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


ANY_TERMS = Terms(0)
"""Of a request whose route has not read its head yet."""


@dataclass(slots=True)
class Facts:
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
    terms: Terms = ANY_TERMS
    at_door: bool = False
    """What became of it was decided here, without asking Redis."""
    meter: RouteMeter | None = None

    def note(self, answer: Answer) -> None:
        """Take over what the queue says of the request."""
        self.outcome, self.predicted_ms = answer.outcome, answer.predicted_ms
        if answer.reply is not None:
            self.wait_ms, self.run_ms = answer.reply.wait_ms, answer.reply.run_ms


def facts_of(scope: MutableMapping[str, Any]) -> Facts:
    """Return the facts that the middleware put into the scope."""
    facts: Facts = scope[SCOPE_KEY]
    return facts


class RequestMiddleware:
    """Outermost: `is_draining` tells whether answers should end their connection.

    `gate` answers what is under `/-/`; `on_other` counts what is not queued.
    """

    def __init__(self, app: App, gate: App, is_draining: Callable[[], bool], on_other: Callable[[int], None]) -> None:
        self._app = app
        self._gate = gate
        self._is_draining = is_draining
        self._on_other = on_other

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        facts = scope[SCOPE_KEY] = Facts(_request_id(scope["headers"]))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status, facts.started = message["status"], True
                message["headers"] = [*message.get("headers", ()), (HEADER, facts.request_id.encode())]
                if self._is_draining():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        if is_engine_path(scope):
            await self._gate(scope, receive, send_with_id)
            return
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # Starlette answers it, further out
            facts.status, facts.outcome = facts.status or 500, facts.outcome or Trouble.FAILED.value
            raise
        finally:
            total_s = time.monotonic() - started_s
            if facts.meter is not None:
                facts.meter.ended(facts, total_s)
            else:
                self._on_other(facts.status)
            _write(scope, facts, total_s)


def limited(receive: Receive, headers: list[tuple[bytes, bytes]], most_bytes: int) -> Receive:
    """Return a `receive` that raises 413 once a body is too large; what is declared too large is not read at all.

    `HTTPException`, since FastAPI turns anything else that reading raises into 400.
    """
    declared = next((value for name, value in headers if name == b"content-length"), b"0")
    too_large = declared.isdigit() and int(declared[:20]) > most_bytes
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        if too_large and seen == 0:
            seen = 1
            raise HTTPException(413, "the body is too large")
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most_bytes:
                raise HTTPException(413, "the body is too large")
        return message

    return receive_limited


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == HEADER and _GOOD_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(8)


def _write(scope: Message, facts: Facts, total_s: float) -> None:
    route = facts.route or shown(f"{scope['method']} {scope['path']}")
    caller = None if facts.caller is None else shown(facts.caller.id)
    total_ms = round(total_s * 1000)
    if gatherer := gatherer_for(log):  # a record and its formatting take eight times as long
        who = "" if caller is None else f', "caller": {to_json(caller)}'
        gatherer.add(
            f'{line_of(log.name, "request")}"request_id": "{facts.request_id}", "route": {to_json(route)}, '
            f'"status": {facts.status}, "outcome": "{facts.outcome}", "total_ms": {total_ms}, '
            f'"predicted_ms": {facts.predicted_ms}, "wait_ms": {facts.wait_ms}, "run_ms": {facts.run_ms}{who}}}\n'
        )
        return
    log.info(
        "request",
        extra=fields(
            request_id=facts.request_id,
            route=route,
            status=facts.status,
            outcome=facts.outcome,
            total_ms=total_ms,
            predicted_ms=facts.predicted_ms,
            wait_ms=facts.wait_ms,
            run_ms=facts.run_ms,
            **({} if caller is None else {"caller": caller}),
        ),
    )

"""The gateway as a FastAPI application: routes from the registry, an engine behind them.

`build` is what the servers are given; `create_app` is for tests and for `build`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security.base import SecurityBase
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from floodgate.declare.context import Caller
from floodgate.declare.discovery import check_times, discover
from floodgate.declare.registry import Registry
from floodgate.gateway import connections
from floodgate.gateway.call import Callees, answer_call_errors
from floodgate.gateway.identity import Identity
from floodgate.gateway.middleware import HEADER, RequestMiddleware, facts_of
from floodgate.gateway.responses import invalid, unexpected
from floodgate.gateway.routes import add_routes
from floodgate.gateway.runtime import Engine
from floodgate.gateway.static_routes import ErrorsLast, FastPath
from floodgate.gateway.task_routes import add_tasks
from floodgate.gateway.unsent import Unsent, return_large_blocks
from floodgate.operations import supervision
from floodgate.operations.endpoints import Gate, Pages
from floodgate.operations.logs import configure, gathering
from floodgate.operations.metrics.page import MetricsPage
from floodgate.operations.metrics.snapshot import Snapshot
from floodgate.operations.settings import Settings
from gateway_app import extend

LOOK_S = 1.0
"""How long it is remembered whether requests are traced: looking costs 3 µs, and a provider is set at start."""


class GatewayApp(FastAPI):
    """FastAPI plus the drain that begins at the signal."""

    engine: Engine | None = None
    unready_s = 0.0
    """How long it goes on taking requests after `begin_drain`, for balancers to notice."""
    collects_by_time = True
    """It holds as many objects as requests wait: counting what is new would walk them all again and again."""
    leaving = False
    """Told to leave: perhaps before there is an engine."""

    _traced_until_s = 0.0
    _traced = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; FastAPI asks for every one whether it is to be traced, here it is asked once a second."""
        if scope["type"] == "http":
            connections.note(scope, send)
        if scope["type"] != "http" or self._is_traced():
            await super().__call__(scope, receive, send)
            return
        if self.root_path:
            scope["root_path"] = self.root_path
        await Starlette.__call__(self, scope, receive, send)

    def _is_traced(self) -> bool:
        now_s = time.monotonic()
        if now_s >= self._traced_until_s:
            self._traced_until_s, self._traced = now_s + LOOK_S, self._native_telemetry.enabled()
        return self._traced

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's layers around ours and the user's; those that only wait for an error come last."""
        on_error = self.exception_handlers.get(Exception, self.exception_handlers.get(500))
        return ErrorsLast(super().build_middleware_stack(), on_error)

    def begin_drain(self) -> None:
        """Begin to leave; may be called twice, from a signal handler, and before the start."""
        self.leaving = True
        if self.engine is not None:
            self.engine.begin_drain()

    async def figures(self) -> Snapshot:
        """Return what `/-/metrics` shows."""
        assert self.engine is not None
        return await self.engine.figures()

    def count_other(self, status: int) -> None:
        """Count an answer to what is not queued."""
        if self.engine is not None:
            self.engine.metering.other(status)

    @property
    def ready(self) -> bool:
        return self.engine is not None and self.engine.ready

    @property
    def draining(self) -> bool:
        return self.engine is not None and self.engine.draining


class Extension(Protocol):
    """What `gateway_app/extend.py` is: the user's part."""

    @property
    def security(self) -> SecurityBase | None: ...

    async def identify(self, request: Request, /) -> Caller | None: ...

    def extend(self, app: FastAPI, /) -> None: ...


def create_app(settings: Settings, registry: Registry, extension: Extension = extend) -> GatewayApp:
    """Return the application for these settings, handlers and the user's part."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assert isinstance(app, GatewayApp)
        engine = app.engine = Engine(settings, registry)  # after the fork: names are drawn here
        app.state.dispatcher = engine.dispatcher
        stop = asyncio.Event()
        running = supervision.start(engine.run(stop))
        if app.leaving:
            engine.begin_drain()
        try:
            with gathering():
                yield
        finally:
            app.begin_drain()
            stop.set()
            with contextlib.suppress(Exception):  # said already
                await running

    app = GatewayApp(title=settings.namespace, lifespan=lifespan)
    app.unready_s = settings.unready_s
    app.state.callees = Callees(registry)
    app.state.identity = identity = Identity(extension.identify)
    app.add_exception_handler(Exception, _on_bug)
    app.add_exception_handler(RequestValidationError, invalid)
    answer_call_errors(app)
    add_tasks(app, registry)
    routes = add_routes(app, registry, identity, settings.body_s, extension.security)
    app.add_middleware(FastPath, routes=routes, max_body_bytes=settings.max_body_bytes)
    extension.extend(app)
    # The last one added is the outermost: it sees every request and every answer.
    gate = Gate(Pages({"metrics": MetricsPage(app.figures)}), settings.ops_token, lambda: app.ready)
    unsent = Unsent(settings.unsent_bytes)
    app.add_middleware(
        RequestMiddleware, gate=gate, is_draining=lambda: app.draining, on_other=app.count_other, unsent=unsent
    )
    return app


def build() -> GatewayApp:
    """Return the application that the environment describes."""
    configure()
    return_large_blocks()
    settings = Settings()
    _ = settings.redis  # a missing address ends the start with the mend, not a loop of errors
    registry = discover(settings)
    check_times(settings, registry)
    return create_app(settings, registry)


async def _on_bug(request: Request, error: Exception) -> Response:
    request_id = facts_of(request.scope).request_id
    response = unexpected(request_id)  # Starlette sends it from outside all middleware
    response.headers[HEADER.decode()] = request_id
    response.headers["connection"] = "close"  # Starlette raises again, for which uvicorn closes it
    return response

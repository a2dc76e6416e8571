"""Puts the queued routes into the user's FastAPI application.

`join` is what `gateway_app/main.py` calls. Owns the order of what a request passes
and the lifespan; the routes themselves are built in `floodgate.gateway.routes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.types import Receive, Scope, Send

from floodgate.declare.context import Caller
from floodgate.declare.discovery import check_times, discover
from floodgate.declare.registry import Registry
from floodgate.errors import ConfigurationError, DeclarationError
from floodgate.gateway import connections
from floodgate.gateway.async_results import add_task_routes
from floodgate.gateway.call import ANSWERED, CallCodecs, answer_error
from floodgate.gateway.connections import LargeAnswers, return_large_blocks
from floodgate.gateway.identity import Identify, Identity
from floodgate.gateway.middleware import HEADER, ErrorsLast, RequestMiddleware, record_of
from floodgate.gateway.outcomes import Failure
from floodgate.gateway.responses import invalid, problem
from floodgate.gateway.routes import FastPath, add_routes
from floodgate.gateway.runtime import GatewayRuntime
from floodgate.operations import supervision
from floodgate.operations.endpoints import OpsEndpoints
from floodgate.operations.logs import configure, gathering
from floodgate.operations.metrics import Snapshot
from floodgate.operations.metrics_page import MetricsPage
from floodgate.operations.settings import Settings, of_app

App = TypeVar("App", bound=FastAPI)

TRACING_CHECK_S = 1.0
"""How long it is remembered whether requests are traced: looking costs 3 µs, and a provider is set at start."""


async def nobody(request: Request) -> Caller | None:
    """Say of no request who sent it: what `join` assumes when `identify` is not given."""
    return None


def join(app: App, *, identify: Identify = nobody, security: SecurityBase | None = None) -> App:
    """Put the queued routes, `/-/` and the drain into an application, and return that same object.

    `identify` says who asks, before the body is read; raising `HTTPException(401)` or
    `(403)` refuses. `security` is what `/docs` shows, e.g. `APIKeyHeader(name="X-API-Key")`.
    The settings come from the environment, the handlers from the package that
    `FLOODGATE_HANDLERS` names. A request passes: request id and log line, your middleware, the
    body's limit, queued routes, your routes. Your lifespan runs inside the engine's.

    Raises `ConfigurationError` when called twice or after the start, and
    `DeclarationError` for a mistake in a handler.
    """
    configure()
    return_large_blocks()
    settings = of_app()
    registry = discover(settings)
    check_times(settings, registry)
    return install(app, settings, registry, identify, security)


def install(
    app: App,
    settings: Settings,
    registry: Registry,
    identify: Identify = nobody,
    security: SecurityBase | None = None,
) -> App:
    """Do what `join` does, for settings and handlers that are given."""
    if isinstance(app, GatewayApp):
        raise ConfigurationError("join() was called for this application before; call it once, in build()")
    for handler in registry.handlers:
        if identify is nobody and handler.idempotency and not handler.idempotency.public:
            raise DeclarationError(
                f"{handler.source}: {handler.name}: idempotency needs to know who asks: "
                'give join() an identify, or write idempotency="public"'
            )
    if app.middleware_stack is not None:
        raise ConfigurationError("join() came after the first request; call it in build(), before the server starts")
    names = (name for name in GatewayApp.__annotations__ | vars(GatewayApp) if not name.startswith("_"))
    if taken := [name for name in names if hasattr(app, name)]:
        listed = ", ".join(f"app.{name}" for name in taken)
        raise ConfigurationError(f"join() needs {listed} for itself; put what is yours into app.state")
    # `__call__` is looked up on the class, so the object changes its class; it stays the one the user made.
    overrides_call = type(app).__call__ is not FastAPI.__call__
    app.__class__ = type(type(app).__name__, (GatewayApp, type(app)), {})
    cast(GatewayApp, app).prepare(settings, registry, Identity(identify), security, overrides_call)
    return app


class GatewayApp(FastAPI):
    """What an application becomes by `join`: it has an engine, and a drain that begins at the signal."""

    engine: GatewayRuntime | None = None
    identity: Identity
    call_codecs: CallCodecs
    settings: Settings
    registry: Registry
    shutdown_delay_s: float
    """How long it goes on taking requests after `begin_drain`, for balancers to notice."""
    collects_by_time = True
    """It holds as many objects as requests wait: counting what is new would walk them all again and again."""
    _leaving = False
    """Told to leave: perhaps before there is an engine."""
    _traced_until_s, _traced = 0.0, False

    def prepare(
        self,
        settings: Settings,
        registry: Registry,
        identity: Identity,
        security: SecurityBase | None,
        overrides_call: bool,
    ) -> None:
        """Put the routes in, before the user's, and note what the start needs; called once, by `install`."""
        plain, self.router.routes[:] = list(self.router.routes), []
        index = add_routes(self, registry, identity, settings.body_s, security)
        add_task_routes(self, registry)
        self._own_routes = list(self.router.routes)
        self.router.routes.extend(plain)
        self._innermost = Middleware(FastPath, routes=index, max_body_bytes=settings.max_body_bytes)
        self.identity, self.call_codecs = identity, CallCodecs(registry)
        self.settings, self.registry, self.shutdown_delay_s = settings, registry, settings.shutdown_delay_s
        self._overrides_call = overrides_call
        self._lifespan_of_user = self.router.lifespan_context
        self.router.lifespan_context = cast(Any, GatewayApp._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[Any]:
        self.check_paths()  # here and not in `join`: routes may have been added since
        engine = self.engine = GatewayRuntime(self.settings, self.registry)  # after the fork: names are drawn here
        stop = asyncio.Event()
        running = supervision.start(engine.run(stop))
        if self._leaving:
            engine.begin_drain()
        try:
            with gathering():
                async with self._lifespan_of_user(self) as state:
                    yield state
        finally:
            # After the user's lifespan, whose end may still call handlers; the server has ended its requests before.
            self.begin_drain()
            stop.set()
            with contextlib.suppress(Exception):  # logged already
                await running
            self._leaving = False  # a test may start the same application again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; FastAPI asks for every one whether it is to be traced, here it is asked once a second."""
        if scope["type"] == "http":
            connections.note(scope, send)
        if self.middleware_stack is None:
            self._build_layers()
        scope["app"] = self
        if self.root_path:
            scope["root_path"] = self.root_path
        if self._overrides_call or self._is_traced():
            await super().__call__(scope, receive, send)
        else:
            await self._layers(scope, receive, send)

    def _build_layers(self) -> None:
        """Put our layers around the user's and build them all; those that only wait for an error come last.

        Not in `build_middleware_stack`: instrumentation replaces that on the object,
        before or after `join`, and looks for the layers that Starlette builds.
        """
        settings = self.settings
        ops = OpsEndpoints({"metrics": MetricsPage(self.collect_metrics)}, settings.ops_token, lambda: self.ready)
        outermost = Middleware(
            RequestMiddleware, ops=ops, gateway=self, large_answers=LargeAnswers(settings.unsent_bytes)
        )
        self.user_middleware = [outermost, *self.user_middleware, self._innermost]
        self._add_default_handlers()
        self.middleware_stack = self.build_middleware_stack()
        on_error = self.exception_handlers.get(Exception, self.exception_handlers.get(500))
        self._layers = ErrorsLast(self.middleware_stack, on_error, debug=self.debug)

    def _is_traced(self) -> bool:
        now_s = time.monotonic()
        if now_s >= self._traced_until_s:
            self._traced_until_s, self._traced = now_s + TRACING_CHECK_S, self._native_telemetry.enabled()
        return self._traced

    def _add_default_handlers(self) -> None:
        """Answer the engine's own errors where the user has no handler for them, nor for what they derive from."""
        handlers = self.exception_handlers
        if handlers.get(RequestValidationError) is request_validation_exception_handler:
            handlers[RequestValidationError] = invalid
        if 500 not in handlers:
            handlers.setdefault(Exception, _on_bug)
        given = {key for key in handlers if key is not Exception}
        handlers.update({error: answer_error for error in ANSWERED if given.isdisjoint(error.__mro__)})

    def check_paths(self) -> None:
        """Raise `ConfigurationError` for a user's route that one of the engine's hides: same method, same path."""
        own = {(method, _shape(path)): path for method, path, _ in _methods_and_paths(self._own_routes)}
        sources = {(handler.method, handler.path): handler.source for handler in self.registry.handlers}
        theirs = [route for route in self.routes if route not in self._own_routes]
        for method, path, name in _methods_and_paths(theirs):
            if (hidden_by := own.get((method, _shape(path)))) is not None:
                source = sources.get((method, hidden_by), "the engine's")
                raise ConfigurationError(
                    f"{method} {hidden_by} is a queued route ({source}) and a plain one ({name}): "
                    "give one of them another path"
                )

    def begin_drain(self) -> None:
        """Begin to leave; may be called twice, from a signal handler, and before the start."""
        self._leaving = True
        if self.engine is not None:
            self.engine.begin_drain()

    @property
    def started_engine(self) -> GatewayRuntime:
        """Return the engine; raises `ConfigurationError` where the lifespan has not run."""
        if self.engine is None:
            raise ConfigurationError(
                "this application was not started: run its lifespan, in a test by `with TestClient(app)`, where it is "
                "mounted by `async with app.router.lifespan_context(app)` in the outer application's lifespan"
            )
        return self.engine

    async def collect_metrics(self) -> Snapshot:
        """Return what `/-/metrics` shows."""
        assert self.engine is not None
        return await self.engine.collect_metrics()

    def count_other(self, status: int) -> None:
        """Count an answer to what is not queued."""
        if self.engine is not None:
            self.engine.metrics.other(status)

    @property
    def ready(self) -> bool:
        return self.engine is not None and self.engine.ready

    @property
    def draining(self) -> bool:
        return self.engine is not None and self.engine.draining


async def _on_bug(request: Request, error: Exception) -> Response:
    request_id = record_of(request.scope).request_id
    response = problem(Failure.FAILED.row, request_id)  # Starlette sends it from outside all middleware
    response.headers[HEADER.decode()] = request_id
    response.headers["connection"] = "close"  # Starlette raises again, for which uvicorn closes it
    return response


def _shape(path: str) -> str:
    """Return a path with its parameters' names left out: `/x/{a}` and `/x/{b}` are the same."""
    return re.sub(r"\{\w+", "{", path)


def _methods_and_paths(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield method, path and name of the function of all routes, those of included routers and mounted apps as well."""
    for route in iter_route_contexts(routes):
        original, path = route.original_route, prefix + (route.path or "")
        if isinstance(original, Mount):
            yield from _methods_and_paths(original.routes, path)
            continue
        name = f"{getattr(route.endpoint, '__module__', '')}.{getattr(route.endpoint, '__qualname__', route.name)}"
        yield from ((method, path, name) for method in route.methods or ())

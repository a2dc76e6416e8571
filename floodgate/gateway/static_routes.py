"""Finds queued routes without parameters by their path at once, and answers them past the layers of FastAPI.

FastAPI tries its routes one after the other; with a hundred of them that costs as
much as the queue. Its layers that wait for an exception are entered when there is
one. Must not know handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from starlette.datastructures import URLPath
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from floodgate.gateway.bodies import limited
from floodgate.gateway.middleware import RequestMiddleware, record_of

Respond = Callable[[Scope, Receive, Send], Awaitable[Response]]

NO_STACK = AsyncExitStack()
"""FastAPI wants one for forms, files and dependencies, and a queued route has none of these."""
_RAISED = "floodgate_raised"


@dataclass(frozen=True, slots=True)
class Known:
    """A route that is found by its path; `respond` returns its response and sends nothing."""

    route: APIRoute
    respond: Respond


class StaticRouteIndex(BaseRoute):
    """The queued routes without path parameters by method and path, for `FastPath`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Known] = {}

    def add(self, method: str, path: str, route: APIRoute, respond: Respond) -> None:
        """Answer this path by this route; one with parameters is not for here."""
        if "{" not in path:
            self.known.setdefault((method, path), Known(route, respond))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only what `FastPath` hands over: instrumentation asks for a route's path, and has to find the route."""
        return (Match.FULL if _RAISED in scope else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Find nothing: the routes themselves stand further down, and know their names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise the exception of a known route inside of FastAPI's layers, which answer it."""
        raise scope.pop(_RAISED)


class FastPath:
    """Innermost of the middleware: answers what `routes` knows, lets the router answer the rest; limits both bodies.

    Exception handling, exit stack and routing cost a queued request as much as all
    of ours. An exception that comes before the answer goes through them all the
    same, so that FastAPI's handlers and the user's see it, once. A body's 413 is
    raised here: outside a user's middleware it would arrive wrapped, as something else.
    """

    def __init__(self, app: ASGIApp, routes: StaticRouteIndex, max_body_bytes: int) -> None:
        self._app = app
        self._known = routes.known
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        receive = limited(receive, scope["headers"], self._max_body_bytes)
        found = self._known.get((scope["method"], scope["path"]))
        # Below a root path the router has to find out what the path is; spans need the router to name the route.
        if found is None or scope.get("root_path") or "fastapi.telemetry" in scope:
            await self._app(scope, receive, send)
            return
        route = found.route
        scope["endpoint"], scope["route"], scope["path_params"] = route.endpoint, route, {}
        scope["fastapi_middleware_astack"] = NO_STACK
        try:
            response = await found.respond(scope, receive, send)
        except Exception as error:
            scope[_RAISED] = error
            await self._app(scope, receive, send)
        else:
            await response(scope, receive, send)


class ErrorsLast:
    """Outermost: begins at `RequestMiddleware`, and enters Starlette's error layer only with an error.

    Where anything else than FastAPI's own layers stands before it, nothing is left out.
    """

    def __init__(self, stack: ASGIApp, on_error: ExceptionHandler | None) -> None:
        self._stack = stack
        self._first = _past_layers_of_fastapi(stack)
        self._errors = ServerErrorMiddleware(_raise, handler=on_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "fastapi.telemetry" in scope:
            await self._stack(scope, receive, send)
            return
        try:
            await self._first(scope, receive, send)
        except Exception as error:
            if self._first is self._stack or record_of(scope).started:
                raise
            scope[_RAISED] = error
            await self._errors(scope, receive, send)


def _past_layers_of_fastapi(stack: ASGIApp) -> ASGIApp:
    app = stack
    while not isinstance(app, RequestMiddleware):
        if type(app).__module__.partition(".")[0] not in ("starlette", "fastapi"):
            return stack
        app = app.app  # type: ignore[attr-defined]
    return app


async def _raise(scope: Scope, receive: Receive, send: Send) -> None:
    raise scope.pop(_RAISED)

"""Finds queued routes without parameters by their path at once, however many there are.

FastAPI tries its routes one after the other; with a hundred of them that costs as
much as the queue. Must not know handlers.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send


class ExactRoutes(BaseRoute):
    """Stands before all others and takes what it knows by method and path; the rest goes on as ever."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], BaseRoute] = {}

    def add(self, method: str, path: str, route: BaseRoute) -> None:
        """Answer this path by this route; one with parameters is not for here."""
        if "{" not in path:
            self._routes.setdefault((method, path), route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Let the route itself say that it matches, and what it adds to the scope."""
        route = self._routes.get((scope.get("method", ""), scope["path"])) if scope["type"] == "http" else None
        return (Match.NONE, {}) if route is None else route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Find nothing: the routes themselves stand further down, and know their names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the route that matched."""
        await self._routes[scope["method"], scope["path"]].handle(scope, receive, send)

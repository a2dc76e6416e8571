"""The short way of known queued routes against FastAPI's own layers: whatever happens, the client sees the same.

Each case runs twice, as shipped and with every layer entered; nothing may differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from floodgate.declare.context import Caller
from floodgate.gateway import join, middleware, routes
from floodgate.gateway.app import GatewayApp
from floodgate.testing import SystemFactory
from shared import HTTPError, queued


class Item(BaseModel):
    n: int


@queued("/plain", 100)
async def plain() -> dict[str, str]:
    return {"text": "x" * 2000}


@queued("/item", 100, method="POST")
async def item(item: Item) -> int:
    return item.n


@queued("/refuses", 100)
async def refuses() -> None:
    raise HTTPError(409, "not now", headers={"x-why": "because"})


class Odd(Exception):
    pass


async def identify(request: Request) -> Caller | None:
    match request.headers.get("x-case", ""):
        case "odd":
            raise Odd("for the user's handler")
        case "teapot":
            raise HTTPException(418, "a teapot", headers={"x-tea": "green"})
        case "unhandled":
            raise LookupError("nobody handles this")
    return None


class Raising:
    """A middleware that raises before or after, or answers by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        case = dict(scope["headers"]).get(b"x-middleware", b"")
        if scope["type"] == "http" and case == b"answers":
            await PlainTextResponse("from the middleware", 203)(scope, receive, send)
            return
        if case == b"before":
            raise LookupError("before")
        if case == b"http":
            raise HTTPException(400, "outside of FastAPI's handlers")
        if case == b"once":

            async def broken(message: Message) -> None:
                await send(message)
                raise LookupError("after the head")

            await self._app(scope, receive, broken)
            return
        await self._app(scope, receive, send)
        if case == b"after":
            raise LookupError("after")


def application() -> FastAPI:
    app = FastAPI()
    app.add_middleware(Raising)
    app.add_middleware(GZipMiddleware, minimum_size=100)
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])

    @app.exception_handler(Odd)
    async def odd(request: Request, error: Odd) -> JSONResponse:
        return JSONResponse({"odd": request.url.path, "route": request.scope["route"].path}, 499)

    return app


def build() -> FastAPI:
    return join(application(), identify=identify)


def build_with_own_handlers() -> FastAPI:
    """Take over what FastAPI and the engine answer."""
    app = application()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"own": len(error.errors())}, 400)

    @app.exception_handler(413)
    def too_large(request: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse("own 413", 413)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("own 500", 500)

    return join(app, identify=identify)


@dataclass(frozen=True)
class Case:
    name: str
    method: str = "GET"
    path: str = "/plain"
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None


JSON = ("content-type", "application/json")
PREFLIGHT = ("access-control-request-method", "GET")
CASES = (
    Case("an answer"),
    Case("not found", path="/nowhere"),
    Case("another method", "DELETE"),
    Case("HEAD", "HEAD"),
    Case("a slash too many", path="/plain/"),
    Case("a model", "POST", "/item", (JSON,), b'{"n": 7}'),
    Case("invalid", "POST", "/item", (JSON,), b'{"n": "x"}'),
    Case("no JSON", "POST", "/item", (JSON,), b"{"),
    Case("too large", "POST", "/item", (JSON,), b'{"n": ' + b"1" * 3000 + b"}"),
    Case("a handler's status", path="/refuses"),
    *(Case(f"identify: {case}", headers=(("x-case", case),)) for case in ("odd", "teapot", "unhandled")),
    *(
        Case(f"middleware: {case}", headers=(("x-middleware", case),))
        for case in ("answers", "before", "http", "once", "after")
    ),
    Case("CORS", headers=(("origin", "https://shop.example"),)),
    Case("CORS and an error", headers=(("origin", "https://shop.example"), ("x-case", "odd"))),
    Case(
        "preflight", "OPTIONS", headers=(("origin", "https://shop.example"), ("access-control-request-method", "GET"))
    ),
    Case("gzip", headers=(("accept-encoding", "gzip"),)),
)


async def seen(app: GatewayApp, case: Case) -> tuple[Any, ...]:
    """Ask once; return all that a client can see, and what the server is told."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://floodgate") as client:
        headers = [("x-request-id", "same"), ("accept-encoding", "identity"), *case.headers]
        try:
            answer = await client.request(case.method, case.path, headers=headers, content=case.content)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        else:
            return answer.status_code, sorted(answer.headers.items()), answer.content
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://floodgate") as client:
        answer = await client.request(case.method, case.path, headers=headers, content=case.content)
    return answer.status_code, sorted(answer.headers.items()), answer.content, told


def enter_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes.FastPath, "__call__", _slowly(routes.FastPath.__call__))
    monkeypatch.setattr(middleware, "_past_layers_of_fastapi", lambda stack: stack)


def _slowly(call: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def slowly(path: routes.FastPath, scope: Scope, receive: Receive, send: Send) -> None:
        path._known = {}
        await call(path, scope, receive, send)

    return slowly


@pytest.mark.parametrize("gateway", [build, build_with_own_handlers])
async def test_nothing_can_be_told_apart(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch, gateway: Callable[[], FastAPI]
) -> None:
    short: dict[str, Any] = {}
    every: dict[str, Any] = {}
    async with floodgate(__name__, gateway=gateway, max_body_bytes=2500) as system:
        for case in CASES:
            short[case.name] = await seen(system.app, case)
    enter_every_layer(monkeypatch)
    async with floodgate(__name__, gateway=gateway, max_body_bytes=2500) as system:
        for case in CASES:
            every[case.name] = await seen(system.app, case)
    assert short == every
    assert short["an answer"][0] == 200
    assert short["identify: odd"][0] == 499
    assert short["identify: teapot"][0] == 418
    assert {short[name][0] for name in ("identify: unhandled", "middleware: before")} == {500}


async def test_a_known_route_meets_no_router(floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with floodgate(__name__, gateway=build) as system:

        async def routed(*_: Any) -> None:
            raise AssertionError("the router was asked")

        monkeypatch.setattr(system.app.router, "app", routed)
        monkeypatch.setattr(type(system.app.router), "__call__", routed)
        assert (await system.get("/plain")).status_code == 200


class Instrumentation:
    """A layer around everything, as instrumentation puts it there."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self.app, self.seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["type"])
        await self.app(scope, receive, send)


async def test_layers_that_others_put_around_everything_are_not_passed_by(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    build_stack = FastAPI.build_middleware_stack
    monkeypatch.setattr(FastAPI, "build_middleware_stack", lambda app: Instrumentation(build_stack(app), asked))
    async with floodgate(__name__, gateway=build) as system:
        assert (await system.get("/plain")).status_code == 200
        assert (await system.get("/nowhere")).status_code == 404
    assert asked == ["http", "http"]

"""The user's part of the tests' gateway: keys, CORS, a middleware, a router, plain routes that call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader
from starlette.middleware.base import RequestResponseEndpoint

from floodgate.gateway import HandlerFailed, Refused, call, caller_of
from shared import Caller, HTTPError
from tests.engine.system.extended.cases import CASES
from tests.engine.system.extended.handlers import routes

SECRET = "the reason why nobody could be asked"
CLAIM = "a claim that no log line shows"
ORIGIN = "https://shop.example"

security = APIKeyHeader(name="X-API-Key", auto_error=False)
asked: list[str] = []
"""Request ids, once per time that `identify` was asked."""


async def identify(request: Request) -> Caller | None:
    """Know keys by heart."""
    asked.append(request.headers.get("x-request-id", ""))
    match request.headers.get("x-api-key"):
        case "key-of-ann":
            return Caller("ann", {"roles": ["buyer", CLAIM], "limit": 1.5, "since": None})
        case "nobody":
            return None
        case "banned":
            raise HTTPException(403, "not for you")
        case "lapsed":
            raise HTTPError(401, "lapsed", {"www-authenticate": "Key"})
        case "broken":
            raise RuntimeError(SECRET)
        case "hangs":
            await asyncio.sleep(60)
        case "untravelling":
            return Caller("ann", {"until": datetime.now(UTC)})
    raise HTTPException(401, "say who you are", {"www-authenticate": "Key"})


def extend(app: FastAPI) -> None:
    """Add one of each."""
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_methods=["*"], allow_headers=["x-api-key"])
    app.middleware("http")(_mark)
    router = APIRouter(prefix="/own")
    router.add_api_route("/hello", _hello)
    app.include_router(router)
    app.add_api_route("/call/{case}", _call)
    app.add_api_route("/caught/{case}", _caught)
    app.add_api_route("/asked/{request_id}", _asked)
    app.add_api_route("/me", _me)
    app.add_api_route("/bug", _bug)
    app.add_api_route("/reads-later", _reads_later, methods=["POST"])
    app.add_api_route("/reads-nothing", _reads_nothing, methods=["GET", "POST"])
    app.add_api_route("/links", _links)
    app.add_api_route("/imports", _imports, methods=["POST"])


async def _mark(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["x-served-by"] = "us"
    return response


async def _hello() -> dict[str, str]:
    return {"hello": "from a router"}


async def _call(case: str, request: Request) -> Any:
    return await CASES[case](request)


async def _caught(case: str, request: Request) -> dict[str, Any]:
    try:
        await CASES[case](request)
    except Exception as error:
        caught: dict[str, Any] = {"error": type(error).__name__, "text": str(error)}
        if isinstance(error, Refused):
            caught["retry_after_s"] = error.retry_after_s
        if isinstance(error, HandlerFailed):
            caught |= {"status": error.status, "detail": error.detail}
        return caught
    return {}


async def _asked(request_id: str) -> int:
    return asked.count(request_id)


async def _me(caller: Annotated[Caller | None, Depends(caller_of)], request: Request) -> list[str]:
    told = await call(routes.whoami, request=request)
    return [caller.id if caller else "", told.id]


async def _bug() -> None:
    raise RuntimeError(SECRET)


async def _reads_later(request: Request) -> Any:
    await call(routes.sleep, tag="before", seconds=0.3, request=request)
    return await request.json()


async def _imports(request: Request) -> list[str]:
    return [
        await call(routes.sleep, tag=chunk.decode(), seconds=0.1, request=request)
        async for chunk in request.stream()
        if chunk
    ]


async def _reads_nothing(request: Request) -> int:
    """Read the body that is not there, after calls at once and in turn."""
    await asyncio.gather(*(call(routes.sleep, tag="nothing", seconds=0.15, request=request) for _ in range(3)))
    await call(routes.sleep, tag="nothing", seconds=0.15, request=request)
    return len(await request.body())


async def _links(request: Request) -> list[str]:
    path = request.app.url_path_for("everything", name="a/b")
    return [str(request.url_for("whoami")), path, str(request.url_for("_hello"))]

"""An application that `join` puts the handlers of this module into, for its tests and the servers that they start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from starlette.requests import HTTPConnection

from floodgate.gateway import Refused, call, join
from shared import queued

START_S = 20
TRACE = "JOIN_TRACE"
"""Names the file that the lifespan writes to."""
CLASHES = "JOIN_CLASHES"


@queued("/quick/{n}", 100)
async def quick(n: int) -> int:
    return n


@queued("/static", 100)
async def static() -> str:
    return "queued"


@queued("/slow", 100, method="POST")
async def slow() -> str:
    await asyncio.sleep(0.8)
    return "answered"


@queued("/detached", 100, async_timeout_s=5)
async def detached() -> str:
    return "done"


def trace(text: str) -> None:
    if path := os.environ.get(TRACE):
        with Path(path).open("a") as file:
            file.write(text + "\n")


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Work through the queue at the start and at the end."""
    connection = HTTPConnection({"type": "http", "app": app, "headers": [], "path": "/", "query_string": b""})
    limit_s = time.monotonic() + START_S
    while True:
        try:
            app.state.first = await call(quick, n=1, request=connection)
            break
        except Refused:  # no worker yet
            assert time.monotonic() < limit_s
            await asyncio.sleep(0.05)
    trace(f"begins after a call: {app.state.first}")
    yield {"given": "by the lifespan"}
    trace(f"ends after a call: {await call(quick, n=2, request=connection)}")


def answer() -> str:
    return "given"


def application(**options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan, **options)

    @app.middleware("http")
    async def note(request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        if request.url.path == "/slow":
            trace("slow has answered")
        response.headers["x-mine"] = f"{response.status_code} {'x-request-id' in response.headers}"
        return response

    @app.get("/plain")
    async def plain(request: Request, found: Annotated[str, Depends(answer)]) -> dict[str, Any]:
        return {"found": found, "state": request.state.given, "url": str(request.url_for("quick", n=3))}

    return app


def build() -> FastAPI:
    """What the servers of these tests run."""
    app = join(application())
    if os.environ.get(CLASHES):
        app.add_api_route("/static", answer)
    return app

"""What a request leaves behind: nothing that only the collector finds, which gateways run rarely.

Served by uvicorn, since the connection under a request is a part of what it might be tied to.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from floodgate.declare.context import Caller
from floodgate.gateway import call, join
from floodgate.testing import System, SystemFactory
from shared import HTTPError, Rate, queued
from tests.engine.system.system import until_async

TIMES = 20
OF_A_REQUEST = ("gateway_app", "shared", "uvicorn", "uvloop", "starlette", "fastapi", "builtins.frame")
"""Where the kinds come from that tell; a new connection to Redis leaves a few others, of its own."""


@queued("/plain", 100)
async def plain() -> str:
    return "done"


@queued("/item", 100, method="POST")
async def item(number: int, body: list[int]) -> int:
    return number + len(body)


@queued("/slow", 100, method="POST", timeout_s=0.2)
async def slow(body: list[int]) -> int:
    return len(body)


@queued("/large", 100)
async def large() -> str:
    return "x" * 300_000


@queued("/refuses", 100)
async def refuses() -> None:
    raise HTTPError(409, "not now")


@queued("/fails", 100)
async def fails() -> None:
    raise LookupError


@queued("/late", 100, timeout_s=0.3)
async def late() -> None:
    await asyncio.sleep(5)


@queued("/detached", 100, async_timeout_s=5)
async def async_response() -> str:
    await asyncio.sleep(0.1)
    return "done"


@queued("/rare", 100, rate=Rate(1, 0.001))
async def rare() -> None:
    pass


async def identify(request: Request) -> Caller | None:
    match request.headers.get("x-case", ""):
        case "hangs":
            await asyncio.sleep(5)
        case "teapot":
            raise HTTPException(418)
        case "unhandled":
            raise LookupError
    return Caller("somebody")


def build() -> FastAPI:
    app = FastAPI()

    @app.get("/calls")
    async def calls(request: Request) -> str:
        return await call(plain, request=request)

    @app.get("/calls-late")
    async def calls_late(request: Request) -> None:
        await call(late, request=request)

    @app.get("/calls-failing")
    async def calls_failing(request: Request) -> None:
        await call(fails, request=request)

    @app.get("/raises")
    async def raises() -> None:
        raise LookupError

    return join(app, identify=identify)


@contextlib.asynccontextmanager
async def served(system: System) -> AsyncIterator[int]:
    """Serve a system's gateway, whose lifespan runs already, as gunicorn's workers do; return the port."""
    server = uvicorn.Server(uvicorn.Config(system.app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def ask(port: int, head: str, body: bytes = b"", *, read: bool = True) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head} HTTP/1.1\r\nHost: x\r\n".encode() + b"Connection: close\r\n" + body)
    try:
        if not read:
            await asyncio.sleep(0.15)
            return 0
        answer = await reader.read()
        return int(answer.split()[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


CASES = {
    "an answer": ("GET /plain", b"\r\n", 200),
    "a body": ("POST /item?number=1", b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]", 200),
    "a large answer": ("GET /large", b"\r\n", 200),
    "invalid": ("POST /item?number=x", b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]", 422),
    "too large": ("POST /item?number=1", b"Content-Length: 30000000\r\n\r\n[1]", 413),
    "slow": ("POST /slow", b"Content-Length: 3\r\n\r\n[", 408),
    "head too large": ("GET /plain", b"A: " + b"x" * 30000 + b"\r\n" + b"B: " + b"x" * 36000 + b"\r\n\r\n", 431),
    "a handler's status": ("GET /refuses", b"\r\n", 409),
    "failed": ("GET /fails", b"\r\n", 500),
    "late": ("GET /late", b"\r\n", 504),
    "over the rate": ("GET /rare", b"\r\n", 429),
    "not found": ("GET /nowhere", b"\r\n", 404),
    "HEAD": ("HEAD /plain", b"\r\n", 405),
    "identify refuses": ("GET /plain", b"X-Case: teapot\r\n\r\n", 418),
    "identify hangs": ("GET /late", b"X-Case: hangs\r\n\r\n", 504),
    "identify raises": ("GET /plain", b"X-Case: unhandled\r\n\r\n", 500),
    "the client leaves": ("GET /late", b"\r\n", 0),
    "accepted": ("GET /detached", b"Prefer: respond-async\r\n\r\n", 202),
    "accepted and waited for": ("GET /detached", b"Prefer: respond-async, wait=2\r\n\r\n", 200),
    "a call": ("GET /calls", b"\r\n", 200),
    "a late call": ("GET /calls-late", b"\r\n", 504),
    "a failed call": ("GET /calls-failing", b"\r\n", 500),
    "the client of a call leaves": ("GET /calls-late", b"\r\n", 0),
    "a plain route raises": ("GET /raises", b"\r\n", 500),
    "live": ("GET /-/live", b"\r\n", 200),
}


async def left_by(port: int, head: str, body: bytes, status: int) -> list[tuple[str, int]]:
    """Ask several times; return what only the collector finds of every one."""
    await ask(port, head, body, read=status != 0)  # what is made only once
    gc.disable()
    gc.freeze()  # what is there already is not walked, which takes half a second each time
    try:
        asked = (ask(port, head, body, read=status != 0) for _ in range(TIMES))
        assert status in await asyncio.gather(*asked), head  # the door refuses some of a route that is always late
        await asyncio.sleep(0.1)  # until the queue has heard of whom nobody waits for
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    return [(kind, count) for kind, count in found.items() if count >= TIMES and kind.startswith(OF_A_REQUEST)]


async def test_a_request_leaves_nothing_to_the_collector(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, gateway=build, body_s=0.2) as system, served(system) as port:
        left = {name: await left_by(port, *case) for name, case in CASES.items()}
    assert left == {name: [] for name in CASES}

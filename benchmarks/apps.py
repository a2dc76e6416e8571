"""What gunicorn serves in the benchmarks: gateways with plain routes beside the queue, and FastAPI without a queue.

The one module here that knows the gateway. The bare application has the same functions
and none of the engine's middleware; BENCH_ACCESS_LOG=1 gives it uvicorn's access log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from types import FrameType

from fastapi import FastAPI, HTTPException
from fastapi.sse import EventSourceResponse
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter

from benchmarks.database import query
from benchmarks.handlers.plain import DIRECT, REPORT_TIMEOUT_S, events, report
from floodgate.gateway import join
from floodgate.operations.logs import configure
from gateway_app.main import build

PATIENCE_S = 2.0
"""Of whoever asks the database directly: then it hangs up, as a client would."""


def beside_direct() -> FastAPI:
    """Returns the gateway of the environment, and the benchmark's functions as plain routes of it."""
    app = FastAPI()
    _add_direct(app)
    return join(app)


def beside_noop() -> FastAPI:
    """Returns the gateway that ships with two plain routes.

    `/noop` is what a refusal is compared with: same application, same middleware, no work. `/direct` asks
    the simulated database without a queue.
    """
    app = build()
    app.add_api_route("/noop", _nothing, include_in_schema=False)
    app.add_api_route("/direct", _ask_database, include_in_schema=False)
    return app


def bare() -> FastAPI:
    """Returns an application that is nothing but the plain routes.

    `/report` has the time-out that the queued one has, and takes its call back when that is over: more
    than most applications do.
    """
    configure()
    if os.environ.get("BENCH_ACCESS_LOG"):
        _log_access()
    app = FastAPI()
    _add_direct(app)
    app.add_api_route("/report", _report_in_time)
    app.add_api_route("/direct-events", events, response_class=EventSourceResponse)
    app.add_api_route("/-/ready", _nothing, include_in_schema=False)
    return app


async def _nothing() -> bool:
    return True


async def _ask_database() -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await query()
    except (TimeoutError, OSError) as error:
        raise HTTPException(504, "the database did not answer in time") from error
    return True


async def _report_in_time() -> dict[str, str]:
    try:
        async with asyncio.timeout(REPORT_TIMEOUT_S):
            return await report()
    except (TimeoutError, OSError) as error:
        raise HTTPException(504, "the database did not answer in time") from error


def _log_access() -> None:
    """Writes the lines that uvicorn writes by itself: its format, to standard output, which is a file here."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(AccessFormatter(LOGGING_CONFIG["formatters"]["access"]["fmt"]))
    logging.getLogger("uvicorn.access").addHandler(handler)


def _add_direct(app: FastAPI) -> None:
    for (method, path), function in DIRECT.items():
        app.add_api_route(path, function, methods=[method])
    app.add_api_route("/calls", _Calls().read, include_in_schema=False)


class _Calls:
    """Counts the calls of Python and C functions in the serving thread: code that was run, however fast."""

    def __init__(self) -> None:
        self._count = 0

    async def read(self) -> int:
        """Returns how many there were since the first reading, which begins the count."""
        if sys.getprofile() is None:
            sys.setprofile(self._on_event)
        return self._count

    def _on_event(self, frame: FrameType, event: str, value: object) -> None:
        if event in ("call", "c_call"):
            self._count += 1

"""What gunicorn serves in the benchmark: the gateway with routes beside the queue, and a bare FastAPI application.

The one part of the load tests that knows the gateway. The bare application has
the same functions and none of our middleware; BENCH_ACCESS_LOG=1 gives it
uvicorn's access log.
"""

from __future__ import annotations

import logging
import os
import sys
from types import FrameType

from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter

from benchmarks.handlers.bench import DIRECT
from floodgate.gateway import join
from floodgate.operations.logs import configure


def build() -> FastAPI:
    """Return the gateway of the environment, and the same handlers as plain routes of it."""
    app = FastAPI()
    _add_direct(app)
    return join(app)


def bare() -> FastAPI:
    """Return an application that is nothing but the plain routes."""
    configure()
    if os.environ.get("BENCH_ACCESS_LOG"):
        _log_access()
    app = FastAPI()
    _add_direct(app)
    app.add_api_route("/-/ready", _ready, include_in_schema=False)
    return app


def _log_access() -> None:
    """Write the lines that uvicorn writes by itself: its format, to standard output, which is a file here."""
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
        """Return how many there were since the first reading, which begins the count."""
        if sys.getprofile() is None:
            sys.setprofile(self._on_event)
        return self._count

    def _on_event(self, frame: FrameType, event: str, value: object) -> None:
        if event in ("call", "c_call"):
            self._count += 1


async def _ready() -> None:
    pass

"""The gateway under overload: the one that ships, and two plain routes beside the queue.

`/noop` is what a refusal is compared with: same application, same middleware, no
work. `/direct` asks the simulated database without a queue. Knows the gateway, so
that nothing else in the load tests has to.
"""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI, HTTPException

from benchmarks.database import query
from gateway_app.main import build as build_gateway

PATIENCE_S = 2.0
"""Of whoever asks the database directly: then it hangs up, as a client would."""


def build() -> FastAPI:
    """Return the gateway of the environment with the plain routes."""
    app = build_gateway()
    app.add_api_route("/noop", noop, include_in_schema=False)
    app.add_api_route("/direct", direct, include_in_schema=False)
    return app


async def noop() -> bool:
    return True


async def direct() -> bool:
    """Ask the database at once, however many others do."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await query(os.environ["OVERLOAD_DATABASE"])
    except (TimeoutError, OSError) as error:
        raise HTTPException(504, "the database did not answer in time") from error
    return True

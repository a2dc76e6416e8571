"""The handler of the comparison called directly: a FastAPI application without a queue.

It has the time-out that the queued one has, and takes its call back when that is
over: more than most applications do.
"""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, HTTPException, Response

from benchmarks.handlers.compare import TIMEOUT_S, report


def build() -> FastAPI:
    """Return the application."""
    app = FastAPI()

    @app.get("/report")
    async def direct() -> dict[str, str]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await report()
        except (TimeoutError, OSError) as error:
            raise HTTPException(504, "the database did not answer in time") from error

    @app.get("/-/ready")
    async def ready() -> Response:
        return Response()

    return app

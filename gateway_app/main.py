"""Your gateway: an ordinary FastAPI application. Title, middleware, plain routes and who asks are yours to edit.

`join` puts the queued routes of `shared/handlers/` into it. What you write here runs
in the gateway and is not queued; a plain route can send work through the queue:
`await call(handler, …, request=request)`, from `floodgate.gateway`.
"""

from __future__ import annotations

from fastapi import FastAPI, Request

from floodgate.gateway import join
from shared import Caller


async def identify(request: Request) -> Caller | None:
    """Return who asks, on a queued route; raise `HTTPException(401)` or `(403)` to refuse. By default: nobody.

    Runs before the body is read and before a place is taken, so a refused request
    costs Redis nothing. The handler finds the result in `Context.caller`, the log
    line has its `id`. A plain route is open until it has `Depends(caller_of)`.
    """
    return None


def build() -> FastAPI:
    """Return the application that the servers run; they call this once per process."""
    app = FastAPI(title="floodgate")

    @app.get("/plain", tags=["plain"])
    async def plain() -> dict[str, str]:
        """Answer in the gateway itself: no queue, no worker, no protection."""
        return {"hello": "from the gateway"}

    return join(app, identify=identify)

"""Your part of the gateway: middleware, plain routes, and who is asking. Edit freely.

What stands here runs in the gateway and is not queued. A plain route can send work
through the queue: `await call(handler, …, request=request)`, from `floodgate.gateway.call`.
docs/handlers.md shows all of it at work.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.security.base import SecurityBase

from shared import Caller

security: SecurityBase | None = None
"""What `/docs` shows, e.g. `APIKeyHeader(name="X-API-Key", auto_error=False)`."""


async def identify(request: Request) -> Caller | None:
    """Say who asks on a queued route; raise `HTTPException(401)` or `(403)` to refuse.

    Runs before the body is read and before a place is taken, so a refused request
    costs Redis nothing. The handler finds the result in `Context.caller`, the log
    line its `id`. Claims are JSON values. A plain route is open, until it calls or
    has `Depends(caller_of)`. By default: nobody.
    """
    return None


def extend(app: FastAPI) -> None:
    """Add to the application, after the queued routes: `app.add_middleware`, `app.include_router`, …"""

    @app.get("/plain", tags=["plain"])
    async def plain() -> dict[str, str]:
        """Answer in the gateway itself: no queue, no worker, no protection."""
        return {"hello": "from the gateway"}

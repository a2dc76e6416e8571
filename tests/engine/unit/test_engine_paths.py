"""What is under `/-/` in the gateway goes straight to its gate."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI, Request

from floodgate.declare.registry import Registry
from floodgate.gateway.app import install
from floodgate.operations.settings import Settings


async def test_in_the_gateway_no_route_and_no_middleware_of_a_users_comes_before_it() -> None:
    seen: list[str] = []

    app = FastAPI()

    @app.get("/{everything:path}")
    async def anything(everything: str) -> str:
        return "the user's"

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        seen.append(request.url.path)
        return await call_next(request)

    install(app, Settings(), Registry((), "release"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        answers = [await client.get(path) for path in ("/-/live", "/-/ready", "/-/metrics", "/-/x", "/else")]
    assert [answer.status_code for answer in answers] == [200, 503, 404, 404, 200]
    assert seen == ["/else"]
    assert all("x-request-id" in answer.headers for answer in answers)

"""The odd cases of a single request: what is invalid, too large, raises or cannot be told.

Each test is a row of the table, against one running system; rows about processes
and about Redis stand in `test_odd_processes`, those about time in `test_odd_leaving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis import Redis

from tests.e2e.conftest import MOST_BODY, MOST_RESULT, THREADS
from tests.e2e.odd_handlers import inputs
from tests.e2e.odd_handlers.endings import SECRET, Ending
from tests.e2e.system import App, System, until, until_async

PROBLEM = "application/problem+json"
GOOD = {"fullName": "Ada", "password": "s3cret", "due": "2026-01-02T03:04:05Z", "token": "abc"}
PLACE = "/inputs/12345678-1234-5678-1234-567812345678/2"
INVALID: list[tuple[str, dict[str, Any]]] = [
    ("/inputs/no-uuid/2?from=2026-01-01T00:00:00", {"json": GOOD}),
    (f"{PLACE[:-1]}7?from=2026-01-01T00:00:00", {"json": GOOD}),
    (PLACE, {"json": GOOD}),
    (f"{PLACE}?from=never&limit=11&tag=a&tag=b&tag=c&tag=d", {"json": GOOD}),
    (f"{PLACE}?from=2026-01-01T00:00:00", {"json": {"full_name": "Ada"}}),
    (f"{PLACE}?from=2026-01-01T00:00:00", {"json": [1]}),
    (
        f"{PLACE}?from=2026-01-01T00:00:00",
        {"content": b'{"fullName": ', "headers": {"content-type": "application/json"}},
    ),
    (f"{PLACE}?from=2026-01-01T00:00:00", {"content": b"a=1", "headers": {"content-type": "text/plain"}}),
    (f"{PLACE}?from=2026-01-01T00:00:00", {}),
]


def plain() -> FastAPI:
    """The same route, written by hand."""
    app = FastAPI()

    async def tell(**arguments: Any) -> None:
        raise AssertionError("nothing invalid gets here")

    parameters = {name: hint for name, hint in inputs.tell.__annotations__.items() if name not in {"ctx", "return"}}
    del parameters
    tell.__signature__ = hand_written()  # type: ignore[attr-defined]
    app.add_api_route("/inputs/{item_id}/{colour}", tell, methods=["POST"], response_model=inputs.Told)
    return app

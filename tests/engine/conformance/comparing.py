"""One request to both, the real system and the reference app, and where their answers differ."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

_EVERY_ANSWER = {"date", "server", "x-request-id", "transfer-encoding"}
"""Headers that the HTTP server, or our gateway, adds to every answer; the reference app has no server."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request; `but` names the parts of the answer that differ on purpose, and why."""

    method: str
    url: str
    body: bytes | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    but: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """A client of the real system, and the reference app itself."""

    ours: httpx.AsyncClient
    reference: FastAPI

    async def differences(self, case: Case) -> dict[str, tuple[Any, Any]]:
        """Return the parts in which the answers differ: status, body, and every header by its name."""
        request = self.ours.build_request(case.method, case.url, content=case.body, headers=list(case.headers))
        answer, theirs = await asyncio.gather(self.ours.send(request), _called(self.reference, request))
        ours = _parts(answer.status_code, [(n.lower(), v) for n, v in answer.headers.raw], answer.content)
        return {n: (ours.get(n), theirs.get(n)) for n in {**ours, **theirs} if ours.get(n) != theirs.get(n)}


async def _called(app: FastAPI, request: httpx.Request) -> dict[str, Any]:
    """Call the reference app as a server does; what it raises after its answer is its own business."""
    scope = {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": "http",
        "server": ("reference", 80),
        "root_path": "",
    }
    sent: list[Mapping[str, Any]] = []

    whole = iter([{"type": "http.request", "body": request.content, "more_body": False}])

    async def receive() -> dict[str, Any]:
        # A client that stays: what streams listens for one that leaves, as long as it goes on.
        return next(whole, None) or await asyncio.get_running_loop().create_future()

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        assert sent[0]["status"] == 500
    start, *bodies = sent
    body = b"" if request.method == "HEAD" else b"".join(message.get("body", b"") for message in bodies)
    return _parts(start["status"], start["headers"], body)


def _parts(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> dict[str, Any]:
    named: dict[str, list[bytes]] = defaultdict(list)
    for name, value in headers:
        if name.decode() not in _EVERY_ANSWER:
            named[name.decode()].append(value)
    return {"status": status, "body": body, **named}

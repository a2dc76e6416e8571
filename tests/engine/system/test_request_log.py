"""The log of requests, which is gathered: nothing of it is missing when a gateway has left."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import httpx

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import system

REQUESTS = 30


def test_every_line_is_there_when_the_gateway_has_drained(server: EmbeddedServer, tmp_path: Path) -> None:
    # Plain uvicorn ends by the signal that it was sent: what Python does at its end is not done.
    with system(tmp_path, server.url, f"log{uuid.uuid4().hex[:10]}") as running:
        gateway = running.gateway()
        with httpx.Client(base_url=gateway.url) as client:
            for number in range(REQUESTS):
                client.get("/nowhere", headers={"x-request-id": str(number)})
        gateway.signal(signal.SIGTERM)
        gateway.process.wait(10)

    assert [line["request_id"] for line in gateway.said(event="request")] == [str(n) for n in range(REQUESTS)]
    events = [line["event"] for line in gateway.lines()]
    assert events.index("draining") > events.index("request") + REQUESTS - 1, "in order with everything else"

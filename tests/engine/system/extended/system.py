"""The running system of these tests, and what its Redis was sent meanwhile."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.leaks import leaks
from tests.engine.system.system import App, System, await_ready, system

HANDLERS = "tests.engine.system.extended.handlers"
PLACES = 30
KEY = {"x-api-key": "key-of-ann"}


@contextlib.contextmanager
def extended_system(server: EmbeddedServer, directory: Path) -> Iterator[System]:
    """Run the gateway, first, and one worker; at the end no key is left behind."""
    name = f"extended{uuid.uuid4().hex[:8]}"
    with system(
        directory, server.url, name, HANDLERS, FLOODGATE_WORKER_CONCURRENCY=str(PLACES), FLOODGATE_BODY_S="1"
    ) as running:
        running.worker(wait=False)
        running._start("tests.engine.system.extended.gateway:build", True, {})
        running.apps.reverse()
        await_ready(running.apps[1])
        yield running
    with contextlib.closing(Redis.from_url(server.url)) as client:
        assert leaks(client, Keys(name)) == []


@contextlib.contextmanager
def commands(server: EmbeddedServer) -> Iterator[list[str]]:
    """Fill the list, at the end of the block, with all commands that the server got meanwhile."""
    seen: list[str] = []
    mark = uuid.uuid4().hex
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as listening:
        listening.sendall(b"MONITOR\r\n")
        lines = listening.makefile("r", encoding="utf-8", errors="replace")
        assert lines.readline() == "+OK\n"
        yield seen
        with contextlib.closing(Redis.from_url(server.url)) as client:
            client.echo(mark)
        while mark not in (line := lines.readline()):
            seen.append(line)
        lines.close()


def ask(gateway: App, path: str, method: str = "GET", **parameters: object) -> httpx.Response:
    """Send one request, with Ann's key unless there are other headers."""
    headers = parameters.pop("headers", KEY)
    return httpx.request(method, gateway.url + path, headers=headers, timeout=15, **parameters)  # type: ignore[arg-type]

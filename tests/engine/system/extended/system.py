"""The running system of these tests, and what its Redis was sent meanwhile."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager

import httpx
import pytest
from redis import Redis

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import App, System, served

HANDLERS = "tests.engine.system.extended.handlers"
PLACES = 30
KEY = {"x-api-key": "key-of-ann"}


def extended_system(server: EmbeddedServer, factory: pytest.TempPathFactory) -> AbstractContextManager[System]:
    """Run the gateway, first, and one worker."""
    gateway = "tests.engine.system.extended.gateway:build"
    return served(server, factory, HANDLERS, gateway=gateway, worker_concurrency=PLACES, body_s=1)


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

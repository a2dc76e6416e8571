"""Clients that hold connections, or send what never ends, at a gateway as it is served in containers."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engine.system.system import EDGE_HANDLERS, Gunicorn, System, free_port, gunicorn, until

MIB = 1 << 20
HELD = 10_000
HEAD = b"GET /short?tag=held&seconds=0 HTTP/1.1\r\nHost: x\r\n"
ENDLESS = {
    "headers": (HEAD, b"X-Y: " + b"a" * 1000 + b"\r\n"),
    "one header": (HEAD + b"X: ", b"a" * 1000),
    "a path": (b"GET /", b"a" * 1000),
    "trailers": (
        b"POST /short?tag=held&seconds=0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
        b"X-Y: " + b"a" * 1000 + b"\r\n",
    ),
    "a chunk's extension": (
        b"POST /short?tag=held&seconds=0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"a" * 1000,
    ),
}


@pytest.fixture
def served(own: System, tmp_path: Path) -> Iterator[Gunicorn]:
    """One gateway under gunicorn, and a worker."""
    own.worker(wait=False)
    port = free_port()
    env = {**own.env, "FLOODGATE_GATEWAY_PORT": str(port), "WEB_CONCURRENCY": "1"}
    assert env["FLOODGATE_HANDLERS"] == EDGE_HANDLERS
    with gunicorn("gateway_app/gunicorn_conf.py", port, tmp_path / "gateway.log", env) as app:
        until(lambda: app.status("/ok") == 200, 20)
        yield app


def connected(app: Gunicorn) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2])), timeout=10)


def resident(app: Gunicorn) -> int:
    (child,) = app.children()
    return int(psutil.Process(child).memory_info().rss)


@pytest.mark.slow
def test_what_never_ends_is_cut_and_leaves_the_gateway_small(served: Gunicorn) -> None:
    assert served.status("/ok") == 200
    for what, (beginning, piece) in ENDLESS.items():
        before = resident(served)
        with connected(served) as client:
            client.sendall(beginning)
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 40 * MIB:
                    client.sendall(piece * 50)
                    sent += 50 * len(piece)
        assert sent < 20 * MIB, what
        assert resident(served) < before + 16 * MIB, what
        assert served.status("/ok") == 200


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ten_thousand_held_connections_refuse_nobody(served: Gunicorn) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = resident(served)
    with contextlib.ExitStack() as stack:
        for number in range(min(HELD, most - 500)):
            client = stack.enter_context(connected(served))
            if number % 2:
                client.sendall(HEAD)
        began_s = time.monotonic()
        assert [served.status("/short?tag=held&seconds=0") for _ in range(20)] == [200] * 20
        assert time.monotonic() - began_s < 10
        assert resident(served) < before + 400 * MIB
    until(lambda: served.status("/ok") == 200)
    assert len(served.children()) == 1
    assert "Traceback" not in served.log.read_text()

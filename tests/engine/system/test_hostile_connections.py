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


HOST = b"Host: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"
SHORT = b" /short?tag=held&seconds=0 HTTP/1.1\r\n" + HOST
CHUNKED = b"POST" + SHORT + b"Transfer-Encoding: chunked\r\n\r\n"
PROBES: dict[str, tuple[bytes, int]] = {
    "two framings": (b"POST" + SHORT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET", 400),
    "two lengths": (b"POST" + SHORT + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\naaaaa", 400),
    "a negative length": (b"POST" + SHORT + b"Content-Length: -4\r\n\r\n", 400),
    "a length of many digits": (b"POST" + SHORT + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "an unknown framing": (b"POST" + SHORT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "a negative chunk": (CHUNKED + b"-1\r\n", 400),
    "an endless chunk": (CHUNKED + b"F" * 17 + b"\r\n", 400),
    "a folded header": (b"GET" + SHORT + b"X: a\r\n b\r\n" + CLOSE, 400),
    "bare line feeds": (b"GET /ok HTTP/1.1\nHost: x\n\n", 400),
    "a NUL": (b"GET" + SHORT + b"X: a\x00b\r\n" + CLOSE, 400),
    "bytes in the path": (b"GET /ok\xff HTTP/1.1\r\n" + HOST + CLOSE, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500, 400),
    "CONNECT": (b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a path of 64 KiB": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + CLOSE, 400),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE, 404),
    "TRACE": (b"TRACE" + SHORT + CLOSE, 405),
    "a WebSocket": (
        b"GET" + SHORT + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        403,
    ),
    "no host": (b"GET /ok HTTP/1.1\r\n" + CLOSE, 200),
    "a host that is none": (b"GET /ok HTTP/1.1\r\nHost: a b\xff[::1\r\n" + CLOSE, 200),
    "3,000 headers": (b"GET" + SHORT + b"".join(b"X-%d: a\r\n" % n for n in range(3000)) + CLOSE, 200),
    "10,000 cookies": (b"GET" + SHORT + b"Cookie: " + b"a=b;" * 10_000 + b"\r\n" + CLOSE, 200),
    "15,000 parameters": (b"GET /short?tag=held&seconds=0&" + b"a=b&" * 15_000 + b" HTTP/1.1\r\n" + HOST + CLOSE, 200),
    "a preference of 58 KB": (b"GET" + SHORT + b"Prefer: " + b"a;" * 29_000 + b"\r\n" + CLOSE, 200),
    "the operators' page, from elsewhere": (
        b"GET /-/metrics HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 1.2.3.4\r\n" + CLOSE,
        404,
    ),
    "the same, encoded": (b"GET /%2d/metrics HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 1.2.3.4\r\n" + CLOSE, 404),
    "the same, as a proxy's": (b"GET http://127.0.0.1/-/metrics HTTP/1.1\r\n" + HOST + b"Via: a\r\n" + CLOSE, 404),
}
"""What a client may send that is no decent request, and the status it gets."""


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
def test_what_is_no_decent_request_is_refused_at_once_by_the_same_process(served: Gunicorn) -> None:
    processes = served.children()
    found = {}
    for name, (sent, _) in PROBES.items():
        with connected(served) as client:
            client.sendall(sent)
            status = client.recv(12)
            assert status.startswith(b"HTTP/1."), name
            found[name] = int(status[9:12])
    assert found == {name: status for name, (_, status) in PROBES.items()}
    assert served.status("/ok") == 200
    assert served.children() == processes
    assert "Traceback" not in served.log.read_text()


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

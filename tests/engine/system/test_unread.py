"""Answers that clients do not read: bounded per gateway process, and ended."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.engine.system.system import App, System, resident, until

LARGE = 15_000_000
MIB = 1 << 20


@contextlib.contextmanager
def asking(gateway: App, size: int, request_id: str = "unread") -> Iterator[socket.socket]:
    """Ask for an answer; what comes of it is left to the block."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        client.settimeout(10)
        client.connect((host, int(port)))
        head = f"GET /results/octets?size={size} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\n\r\n"
        client.sendall(head.encode())
        yield client


def body_of(client: socket.socket, per_s: float = 1e12) -> int:
    """Read an answer to its end, at a pace; return the bytes of its body."""
    start_s, got = time.monotonic(), b""
    while b"\r\n\r\n" not in got:
        got += client.recv(4096)
    head, _, body = got.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    count = len(body)
    while count < length and (came := client.recv(64 * 1024)):
        count += len(came)
        time.sleep(max(0.0, start_s + count / per_s - time.monotonic()))
    return count


@pytest.fixture
def gateway(own: System) -> App:
    own.worker(wait=False)
    gateway = own.gateway()
    until(lambda: gateway.status("/ok") == 200, 15)
    return gateway


@pytest.mark.slow
def test_24_clients_that_do_not_read_15_mb_leave_the_gateway_small(gateway: App) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):  # what a gateway holds that has sent large answers
            with asking(gateway, LARGE) as client:
                assert body_of(client) == LARGE
        before = resident(gateway)
        for number in range(24):
            stack.enter_context(asking(gateway, LARGE, f"unread-{number}"))
            time.sleep(0.1)
        until(lambda: len(gateway.said(logger="floodgate.gateway", level="warning")) >= 24 - 4, 30)
        time.sleep(1)
        assert resident(gateway) < before + 96 * MIB, (before, resident(gateway))
        assert gateway.status("/ok") == 200
        with asking(gateway, LARGE) as client:
            assert body_of(client) == LARGE


def test_a_slow_reader_gets_all_of_its_answer(gateway: App) -> None:
    with asking(gateway, 3 * MIB) as client:
        assert body_of(client, per_s=MIB) == 3 * MIB


def test_over_the_budget_those_that_stood_still_longest_are_cut(own: System) -> None:
    own.worker(wait=False)
    gateway = own.gateway(FLOODGATE_UNSENT_BYTES=str(20 * MIB))
    until(lambda: gateway.status("/ok") == 200, 15)
    with asking(gateway, LARGE, "first") as first, asking(gateway, 100_000, "small") as small:
        time.sleep(0.5)
        with asking(gateway, LARGE, "second") as second:
            assert body_of(second) == LARGE
        with pytest.raises((ConnectionError, AssertionError)):
            assert body_of(first) == LARGE
        assert body_of(small) == 100_000
    until(lambda: gateway.said(request_id="first", outcome="client_left") != [])
    until(lambda: gateway.said(request_id="second", outcome="done") != [])
    log = gateway.log.read_text()
    assert "Traceback" not in log
    assert "without completing" not in log
    assert httpx.get(f"{gateway.url}/results/octets?size={LARGE}").content == b"x" * LARGE

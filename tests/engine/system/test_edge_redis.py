"""Edge cases of Redis: not there at start, gone while running, and garbage in any key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import App, System, system, until


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[System, EmbeddedServer]]:
    """A system whose server is not started yet."""
    server = EmbeddedServer()
    try:
        with system(tmp_path, server.url, "fragile") as running:
            yield running, server
    finally:
        server.stop()


def assert_live_but_not_ready(*apps: App) -> None:
    for app in apps:
        assert app.alive
        assert (app.status("/-/live"), app.status("/-/ready")) == (200, 503)


def assert_refuses_promptly(gateway: App) -> None:
    start_s = time.monotonic()
    assert_problem(httpx.get(f"{gateway.url}/ok"), 503)
    assert time.monotonic() - start_s < 1.6


def both(running: System) -> tuple[App, App]:
    gateway, worker = running.gateway(wait=False), running.worker(wait=False)
    for app in (gateway, worker):
        until(lambda app=app: app.status("/-/live") == 200, 10)  # type: ignore[misc]
    return gateway, worker


def test_without_redis_at_start_both_apps_wait_and_say_so(fragile: tuple[System, EmbeddedServer]) -> None:
    running, server = fragile
    gateway, worker = both(running)
    assert_refuses_promptly(gateway)
    assert_live_but_not_ready(gateway, worker)
    for app in (gateway, worker):
        assert [line for line in app.said(level="warning") if "waiting for Redis" in line["event"]]
    server.start()
    until(lambda: gateway.ready and worker.ready, 8)
    until(lambda: gateway.status("/ok") == 200)

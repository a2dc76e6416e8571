"""Edge cases of Redis: not there at start, gone while running, and garbage in any key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import App, System, system, until, until_async


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


async def test_requests_under_way_when_redis_loses_everything_are_answered(
    fragile: tuple[System, EmbeddedServer],
) -> None:
    running, server = fragile
    server.start()
    gateway, worker = both(running)
    await until_async(lambda: gateway.ready and worker.ready)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        get = asyncio.create_task(client.get("/sleep?tag=lost-get&seconds=0.5"))
        post = asyncio.create_task(client.post("/sleep?tag=lost-post&seconds=0.5"))
        await until_async(lambda: bool(running.noted("lost-get")) and bool(running.noted("lost-post")))
        server.kill()
        server.start()
        assert (await get).status_code in {200, 503, 504}
        assert (await post).status_code in {200, 502, 504}
    assert running.noted("lost-post").count("start") == 1
    await until_async(lambda: gateway.status("/ok") == 200, 8)

"""Both apps under gunicorn, each with the configuration that it ships."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from floodgate.declare.registry import Registry
from floodgate.gateway.app import GatewayApp, install
from floodgate.operations.settings import Settings
from tests.engine.system.system import Gunicorn, free_port, gunicorn, until, until_async

START_S = 20
END_S = 10
SHUTDOWN_DELAY_S = 1.5
PROCESSES = 2
HANDLERS = """
import asyncio
import time
from shared import queued

@queued("/hangs", max_concurrency=10, timeout_s=0.5)
def hangs() -> None:
    time.sleep(600)

@queued("/quick", max_concurrency=10)
def quick() -> None: ...

@queued("/slow", max_concurrency=10)
async def slow() -> str:
    await asyncio.sleep(0.8)
    return "answered"
"""


@pytest.fixture
def apps(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[tuple[Gunicorn, Gunicorn]]:
    """A gateway and a worker of two processes each, which serve."""
    (tmp_path / "handlers_of_gunicorn.py").write_text(HANDLERS)
    ports = {"gateway": free_port(), "worker": free_port()}
    settings = {"namespace": namespace, "handlers": "handlers_of_gunicorn", "lease_s": 1, "worker_threads": 1}
    settings |= {"shutdown_delay_s": SHUTDOWN_DELAY_S, "stuck_s": 1, **{f"{name}_port": ports[name] for name in ports}}
    env = {f"FLOODGATE_{name.upper()}": str(value) for name, value in settings.items()}
    env |= {"REDIS_URL": redis_url, "PYTHONPATH": str(tmp_path), "WEB_CONCURRENCY": str(PROCESSES)}

    def started(name: str) -> AbstractContextManager[Gunicorn]:
        return gunicorn(f"{name}_app/gunicorn_conf.py", ports[name], tmp_path / f"{name}.log", env)

    with started("worker") as worker, started("gateway") as gateway:
        until(lambda: gateway.status("/slow") == 200, START_S)
        yield gateway, worker


def test_a_leaving_gateway_says_so_before_it_closes_its_port(apps: tuple[Gunicorn, Gunicorn]) -> None:
    gateway, _ = apps
    with httpx.Client(base_url=gateway.url) as kept, ThreadPoolExecutor() as threads:
        assert "connection" not in kept.get("/-/live").headers
        under_way = threads.submit(httpx.get, f"{gateway.url}/slow", timeout=END_S)
        time.sleep(0.3)
        for app in apps:
            app.process.terminate()
        time.sleep(SHUTDOWN_DELAY_S / 2)
        for client in (kept, httpx):
            leaving = client.get(f"{gateway.url}/openapi.json")
            assert (leaving.status_code, leaving.headers["connection"]) == (200, "close")
        assert (gateway.status("/-/ready"), gateway.status("/-/live")) == (503, 200)
        assert under_way.result(END_S).json() == "answered"
    assert [app.process.wait(END_S) for app in apps] == [0, 0]


@pytest.mark.slow
def test_workers_whose_threads_all_hang_end_and_are_replaced(apps: tuple[Gunicorn, Gunicorn]) -> None:
    gateway, worker = apps

    def both_ended() -> bool:
        gateway.status("/hangs")  # holds the one thread of a worker
        return worker.log.read_text().count("the engine has failed: this process ends") == PROCESSES

    until(both_ended, START_S)
    until(lambda: gateway.status("/quick") == 200, START_S)
    assert worker.alive, "the master lives on"


async def test_a_gateway_that_is_told_to_leave_before_it_has_started_is_never_ready(
    redis_url: str, namespace: str
) -> None:
    settings = Settings(redis_url=SecretStr(redis_url), namespace=namespace)
    app = install(FastAPI(), settings, Registry((), "release"))
    assert isinstance(app, GatewayApp)
    app.begin_drain()
    async with app.router.lifespan_context(app):
        await until_async(lambda: app.draining, 2)
        await asyncio.sleep(0.2)  # in which it connects
        assert not app.ready

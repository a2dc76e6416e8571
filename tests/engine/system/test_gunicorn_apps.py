"""Both apps under gunicorn, each with the configuration that it ships."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from floodgate.declare.registry import Registry
from floodgate.gateway.app import GatewayApp, install
from floodgate.operations.settings import Settings
from tests.engine.system.system import until_async

ROOT = Path(__file__).parents[3]
START_S = 20
END_S = 10
SHUTDOWN_DELAY_S = 1.0
PROCESSES = 2
HANDLER = """
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(redis_url: str, namespace: str) -> dict[str, str]:
    ports = {"FLOODGATE_GATEWAY_PORT": str(free_port()), "FLOODGATE_WORKER_PORT": str(free_port())}
    given = {
        "FLOODGATE_SHUTDOWN_DELAY_S": str(SHUTDOWN_DELAY_S),
        "REDIS_URL": redis_url,
        "FLOODGATE_NAMESPACE": namespace,
        "FLOODGATE_LEASE_S": "1",
    }
    return (
        os.environ
        | ports
        | given
        | {"PYTHONPATH": str(ROOT), "FLOODGATE_WORKER_THREADS": "1", "FLOODGATE_STUCK_S": "1"}
    )


@pytest.fixture
def apps(tmp_path: Path, environment: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A gateway and a worker of two processes each, on a copy with one slow handler."""
    for name in ("shared", "gateway_app", "worker_app"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "shared/handlers/slow.py").write_text(HANDLER)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("worker", "gateway"):
            with (tmp_path / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", "-c", f"{name}_app/gunicorn_conf.py"],
                    cwd=tmp_path,
                    env=environment | {"WEB_CONCURRENCY": str(PROCESSES)},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        yield running
    finally:
        for process in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_request_under_way_is_answered_while_both_apps_are_told_to_end(
    apps: dict[str, subprocess.Popen[bytes]], environment: dict[str, str], tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{environment['FLOODGATE_GATEWAY_PORT']}/slow"
    deadline = time.monotonic() + START_S
    while not _answers(url):
        logs = "\n".join(log.read_text() for log in tmp_path.glob("*.log"))
        assert time.monotonic() < deadline, logs

    under_way = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request; print(urllib.request.urlopen({url!r}).read())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    for process in apps.values():
        process.terminate()

    assert under_way.communicate(timeout=END_S)[0].strip() == "b'\"answered\"'"
    assert {name: process.wait(END_S) for name, process in apps.items()} == {"gateway": 0, "worker": 0}


def test_a_leaving_gateway_says_so_before_it_closes_its_port(
    apps: dict[str, subprocess.Popen[bytes]], environment: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{environment['FLOODGATE_GATEWAY_PORT']}"
    deadline = time.monotonic() + START_S
    while not _answers(f"{url}/slow"):
        assert time.monotonic() < deadline
    with httpx.Client(base_url=url) as kept:
        assert "connection" not in kept.get("/-/live").headers
        apps["gateway"].terminate()
        time.sleep(SHUTDOWN_DELAY_S / 2)
        for client in (kept, httpx):
            leaving = client.get(f"{url}/openapi.json")
            assert (leaving.status_code, leaving.headers["connection"]) == (200, "close")
    assert apps["gateway"].wait(END_S) == 0


def test_a_leaving_gateway_is_not_ready_while_it_still_answers(
    apps: dict[str, subprocess.Popen[bytes]], environment: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{environment['FLOODGATE_GATEWAY_PORT']}"
    deadline = time.monotonic() + START_S
    while not _answers(f"{url}/-/ready"):
        assert time.monotonic() < deadline
    apps["gateway"].terminate()
    time.sleep(SHUTDOWN_DELAY_S / 2)
    assert httpx.get(f"{url}/-/ready").status_code == 503
    assert httpx.get(f"{url}/-/live").status_code == 200


@pytest.mark.slow
def test_workers_whose_threads_all_hang_end_and_are_replaced(
    apps: dict[str, subprocess.Popen[bytes]], environment: dict[str, str], tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{environment['FLOODGATE_GATEWAY_PORT']}"
    deadline = time.monotonic() + START_S
    while not _answers(f"{url}/quick"):
        assert time.monotonic() < deadline
    log = tmp_path / "worker.log"
    while log.read_text().count("the engine failed: this process ends") < PROCESSES:
        httpx.get(f"{url}/hangs")  # holds the one thread of a worker
        assert time.monotonic() < deadline + START_S, log.read_text()
    while not _answers(f"{url}/quick"):
        assert time.monotonic() < deadline + 2 * START_S, log.read_text()
    assert apps["worker"].poll() is None, "the master lives on"


def _answers(url: str) -> bool:
    time.sleep(0.05)
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


async def test_a_gateway_that_is_told_to_leave_before_it_has_started_is_never_ready(
    redis_url: str, namespace: str
) -> None:
    settings = Settings(redis_url=SecretStr(redis_url), namespace=namespace)
    app = install(FastAPI(), settings, Registry((), "contract"))
    assert isinstance(app, GatewayApp)
    app.begin_drain()
    async with app.router.lifespan_context(app):
        await until_async(lambda: app.draining, 2)
        await asyncio.sleep(0.2)  # in which it connects
        assert not app.ready

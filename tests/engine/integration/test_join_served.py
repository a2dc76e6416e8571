"""What `join` promises of an application, where a server of its own runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from floodgate.gateway import join
from floodgate.testing import System, SystemFactory
from tests.engine import joining
from tests.engine.joining import CLASHES, START_S, TRACE
from tests.engine.system.system import free_port

ROOT = Path(__file__).parents[3]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def beside(floodgate: SystemFactory) -> AsyncIterator[System]:
    """A worker, and a gateway of its own."""
    async with floodgate(joining.__name__, gateway=lambda: join(FastAPI())) as system:
        yield system


@pytest.fixture(params=["uvicorn", "gunicorn"])
def start(request: pytest.FixtureRequest, beside: System, tmp_path: Path) -> Iterator[Start]:
    """Starts the application under a server, on a port of its own."""
    processes: list[subprocess.Popen[bytes]] = []
    given = {
        "REDIS_URL": beside.settings.redis,
        "FLOODGATE_NAMESPACE": beside.settings.namespace,
        "FLOODGATE_HANDLERS": joining.__name__,
        "FLOODGATE_LEASE_S": "1",
        "FLOODGATE_SHUTDOWN_DELAY_S": "0",
        "PYTHONPATH": str(ROOT),
        TRACE: str(tmp_path / "trace"),
    }
    target = f"{joining.__name__}:build"

    def run(port: int, **more: str) -> subprocess.Popen[bytes]:
        (tmp_path / "conf.py").write_text(
            "from floodgate.operations.server import configuration\n"
            "from floodgate.operations.settings import Settings\n"
            f"globals().update(configuration('{target}()', {port}, Settings()))\n"
        )
        command = {
            "uvicorn": ["uvicorn", "--factory", target, "--port", str(port)],
            "gunicorn": ["gunicorn", "-c", str(tmp_path / "conf.py")],
        }[request.param]
        with (tmp_path / "log").open("wb") as log:
            environment = os.environ | given | more
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=tmp_path,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return processes[-1]

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_under_a_server_the_user_s_lifespan_ends_after_the_drain(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        limit_s = time.monotonic() + START_S
        while not await ready(client):
            assert time.monotonic() < limit_s, (tmp_path / "log").read_text()
            await asyncio.sleep(0.1)
        assert (await client.get("/static")).json() == "queued"
        assert (await client.get("/plain")).json()["state"] == "by the lifespan"
        under_way = asyncio.create_task(client.post("/slow"))
        await asyncio.sleep(0.3)
        process.terminate()
        assert (await under_way).json() == "answered"
    await asyncio.to_thread(process.wait, 10)
    assert (tmp_path / "trace").read_text().splitlines() == [
        "begins after a call: 1",
        "slow has answered",
        "ends after a call: 2",
    ]


async def test_under_a_server_a_hidden_route_ends_the_start_with_the_reason(start: Start, tmp_path: Path) -> None:
    process = start(free_port(), **{CLASHES: "yes"})
    assert await asyncio.to_thread(process.wait, START_S) != 0
    assert "GET /static is a queued route" in (tmp_path / "log").read_text()


async def ready(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/-/ready")).status_code == 200
    return False

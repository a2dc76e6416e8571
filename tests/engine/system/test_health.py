"""The health check that containers run: it looks at what an app does, not at whether its process exists."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from floodgate.broker.scripts import SCRIPTS
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.worker.consumer import SILENT_S
from tests.engine.system.system import ROOT, App, System, free_port, system, until, until_async

LEASE_S = 1.0
NOTICED_S = LEASE_S + 2.5
"""A registration ends with 0.6 leases; a call to a frozen server takes up to 2 s to be given up."""


def healthy(app: App) -> bool:
    return healthy_at(app.url.rpartition(":")[2])


def healthy_at(port: str) -> bool:
    """Run the check as a container does."""
    command = [sys.executable, "-I", "-S", "floodgate/run/health.py", port]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server of one's own, to be taken away, and given back."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(scope="module")
def running(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with system(tmp_path_factory.mktemp("health"), server.url, "health") as running:
        running.gateway(wait=False)
        running.worker(wait=False)
        yield running


@pytest.fixture
def both(running: System) -> tuple[App, App]:
    """A gateway and a worker, both healthy."""
    gateway, worker = running.apps
    until(lambda: healthy(gateway) and healthy(worker), 10)
    return gateway, worker


FAULTS = {
    "away": (EmbeddedServer.kill, EmbeddedServer.start),
    "frozen": (EmbeddedServer.freeze, EmbeddedServer.thaw),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_is_healthy_while_it_can_claim(both: tuple[App, App], server: EmbeddedServer, fault: str) -> None:
    take: Callable[[EmbeddedServer], object]
    give: Callable[[EmbeddedServer], object]
    _, worker = both
    take, give = FAULTS[fault]
    take(server)
    until(lambda: not healthy(worker), NOTICED_S)
    assert worker.status("/-/live") == 200
    give(server)
    until(lambda: healthy(worker), 10)


def test_an_app_whose_loop_hangs_is_not_healthy(both: tuple[App, App]) -> None:
    for app in both:
        app.signal(signal.SIGSTOP)
        start_s = time.monotonic()
        assert not healthy(app)
        assert time.monotonic() - start_s < 3
        app.signal(signal.SIGCONT)
        until(lambda app=app: healthy(app))  # type: ignore[misc]


def test_nobody_there_is_not_healthy() -> None:
    assert not healthy_at(str(free_port()))


@asynccontextmanager
async def claims_swallowed(server: EmbeddedServer) -> AsyncIterator[str]:
    """Return the address of a way to the server on which claims, and what follows them, get no answer."""
    sha = SCRIPTS["claim"].sha.encode()

    async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(to):
            while data := await source.read(1 << 16):
                if sha in data:
                    await source.read()  # until the other side gives up
                    return
                to.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"


async def test_a_worker_whose_renewals_alone_get_through_is_not_healthy(server: EmbeddedServer, tmp_path: Path) -> None:
    async with claims_swallowed(server) as url:
        with system(tmp_path, url, "health") as running:
            worker = running.worker(wait=False)
            await until_async(lambda: bool(worker.said(event="registered")), 10)
            await asyncio.sleep(SILENT_S / 2)
            await until_async(lambda: len(worker.said(event="registered")) >= 2, 10)  # it does renew
            assert not await asyncio.to_thread(healthy, worker)


async def test_a_worker_without_room_is_healthy_though_it_claims_nothing(own: System) -> None:
    worker = own.worker(FLOODGATE_WORKER_CONCURRENCY="1", wait=False)
    gateway = own.gateway()
    await until_async(lambda: healthy(worker), 10)
    asked = asyncio.create_task(asyncio.to_thread(gateway.status, f"/sleep?tag=full&seconds={SILENT_S + 1}"))
    await until_async(lambda: bool(own.noted("full")))
    await asyncio.sleep(SILENT_S + 0.5)
    assert await asyncio.to_thread(healthy, worker)
    await asked

"""Clocks that are wrong, and are set: of a machine without any effect, of the server with the documented one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.fleet import LEASE, Process, fleet, started
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.faults.conftest import Faults
from tests.engine.system import forking
from tests.engine.system.system import until_async

pytestmark = [pytest.mark.slow, pytest.mark.cc, pytest.mark.timeout(90)]
HOUR_S = 3600.0
STEADY_S = 1.5
BUSY_S = 0.7
"""What a busy machine may add."""


class Clock:
    """The wall clock of the processes that are started with its environment."""

    def __init__(self, directory: Path, name: str) -> None:
        self._file = directory / name
        self.set(0)
        self.env = {"LD_PRELOAD": str(directory / "wrong_clock.so"), "WRONG_CLOCK": str(self._file)}

    def set(self, wrong_by_s: float) -> None:
        """Set it, at once and for all of them."""
        mode = "r+b" if self._file.exists() else "wb"
        with self._file.open(mode) as file:
            file.write(int(wrong_by_s * 1e9).to_bytes(8, "little", signed=True))


class Machines:
    """A fleet of which one gateway and one worker have another machine's clock, and Redis has a third one's."""

    def __init__(self, faults: Faults, theirs: Clock, of_server: Clock) -> None:
        self.faults, self.theirs, self.of_server = faults, theirs, of_server


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    directory = tmp_path_factory.mktemp("clocks")
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(directory / "wrong_clock.so"), str(source)], check=True)
    theirs, of_server = Clock(directory, "theirs"), Clock(directory, "server")

    def start(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
        if log.stem.endswith("1"):
            return started(arguments, {**env, **theirs.env}, log)
        return forking.start(arguments, env, log, server="gunicorn")

    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in of_server.env.items():
                environment.setenv(name, value)
            server = stack.enter_context(EmbeddedServer())
        running = stack.enter_context(fleet(directory / "fleet", server.url, start=start))
        yield Machines(Faults(running, server), theirs, of_server)


def wrong_by_s(server: EmbeddedServer) -> float:
    return float(server.command("TIME").split()[2]) - time.time()


async def test_the_clock_of_a_machine_may_be_wrong_by_an_hour_and_be_set_at_any_time(machines: Machines) -> None:
    async with machines.faults.load() as load:
        for wrong_by_s in (HOUR_S, -HOUR_S, 0.5, -HOUR_S, 0):
            machines.theirs.set(wrong_by_s)
            await asyncio.sleep(0.7)
    assert set(load.statuses()) == {200}


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_when_the_servers_clock_is_set_all_is_served_on(machines: Machines, step_s: float) -> None:
    server, clock = machines.faults.server, machines.of_server
    async with machines.faults.load() as load:
        held = [asyncio.create_task(load.ask("/holds?seconds=1", method)) for method in ("GET", "POST")]
        await asyncio.sleep(0.3)
        for wrong_s in (step_s, 0):
            clock.set(wrong_s)
            await until_async(lambda wrong_s=wrong_s: abs(wrong_by_s(server) - wrong_s) < 2)  # type: ignore[misc]
            set_s = time.monotonic()
            await asyncio.sleep(STEADY_S)
            assert load.served_again_s(set_s) < 0.5, load.statuses(set_s)
        assert [(await task).status for task in held] == [200, 200]
    assert set(load.statuses()) <= {200, 503}


async def test_what_a_lost_worker_held_when_the_clock_was_set_back_is_answered_and_free(machines: Machines) -> None:
    async with machines.faults.load(restarts=True) as load:
        held = [asyncio.create_task(load.ask("/holds?seconds=1", method)) for method in ("GET", "POST") * 3]
        await asyncio.sleep(0.3)
        machines.faults.workers[0].hit(signal.SIGKILL)
        machines.of_server.set(-HOUR_S)
        for task in held:
            request = await task
            assert request.status in ((200,) if request.method == "GET" else (200, 502)), request.reason
            assert request.latency_s < 1 + 2 * LEASE + 1 + 1 + BUSY_S, "more than two leases: the first gets its grace"
        machines.of_server.set(0)

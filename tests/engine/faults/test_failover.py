"""Another primary, under load: a name moved from one that lives on, or Sentinels named it for one that is gone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.conservation import Load
from floodgate.run.embedded_server import EmbeddedServer, valkey_binary
from floodgate.run.processes import with_parent_death_signal
from floodgate.testing import SystemFactory
from shared import queued
from tests.engine.faults.conftest import SERVICE_S, Faults, forked, proxied
from tests.engine.system.system import free_port, until_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
NAME = "main"
DOWN_MS = 1000
"""After which a Sentinel takes a server for gone."""
AT_ONCE = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


@queued("/alone", 10)
async def alone() -> None: ...


@contextlib.contextmanager
def replicated() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """Run a primary and its replica."""
    with EmbeddedServer(args=AT_ONCE) as primary, EmbeddedServer(args=AT_ONCE) as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
        yield primary, replica


class Sentinels:
    """Three of them, which watch a pair of servers."""

    def __init__(self, directory: Path, servers: tuple[EmbeddedServer, EmbeddedServer]) -> None:
        self.servers = servers
        self.ports = [free_port() for _ in range(3)]
        self._processes = []
        for port in self.ports:
            conf = directory / f"{port}.conf"
            conf.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                f"sentinel monitor {NAME} 127.0.0.1 {servers[0].port} 2\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\n"
                f"sentinel failover-timeout {NAME} 4000\n"
            )
            command = with_parent_death_signal([str(valkey_binary()), str(conf), "--sentinel"], signal.SIGKILL)
            self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True))

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{NAME}/0"

    def primary(self) -> EmbeddedServer | None:
        """Return whom they name, as far as one answers."""
        for port in self.ports:
            with contextlib.suppress(Exception), Redis(port=port, socket_timeout=0.5) as sentinel:
                _, at = sentinel.sentinel_get_master_addr_by_name(NAME)
                return next(server for server in self.servers if server.port == int(at))
        return None

    def agree(self) -> bool:
        """Tell whether every one knows the two others and the replica."""
        for port in self.ports:
            try:
                with Redis(port=port, socket_timeout=0.5, decode_responses=True) as sentinel:
                    state = sentinel.sentinel_master(NAME)
            except Exception:
                return False
            if state["num-other-sentinels"] != len(self.ports) - 1 or state["num-slaves"] != 1:
                return False
        return True

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with replicated() as servers:
        watching = Sentinels(tmp_path, servers)
        yield watching
        watching.end()


async def served_after(load: Load, moved_s: float, fault_s: float) -> str:
    """Wait until everything is served for a second, at the latest `SERVICE_S` after the move; return the figures."""
    while load.served_again_s(moved_s) > time.monotonic() - moved_s - 1:
        await asyncio.sleep(0.1)
    again_s = load.served_again_s(moved_s)
    assert again_s < SERVICE_S, load.statuses(moved_s)
    met = [r for r in load.last if r.intended_s < fault_s and r.done_s > fault_s and r.status != 200]
    return f"failover {moved_s - fault_s:.1f} s, served {again_s:.1f} s later, {len(met)} that were under way lost"


def repeated(faults: Faults) -> str:
    """Return how many handlers were started more than once for one request."""
    lines = faults.fleet.notes.read_text().splitlines()
    starts = [line.split()[1] for line in lines if line.startswith("S")]
    return f"{len(starts) - len(set(starts))} started again of {len(set(starts))}"


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_sentinels_name_the_replica_and_every_request_is_answered(
    sentinels: Sentinels, fault: str, tmp_path: Path
) -> None:
    await until_async(sentinels.agree, 15)
    old, new = sentinels.servers
    with forked(tmp_path / "fleet", sentinels.url) as running:
        faults = Faults(running, new)
        async with faults.load(may_repeat=True) as load:
            await asyncio.sleep(0.5)
            getattr(old, fault)()
            fault_s = time.monotonic()
            await until_async(lambda: sentinels.primary() is new, 15)
            figures = await served_after(load, time.monotonic(), fault_s)
            if fault == "freeze":
                old.thaw()
                await asyncio.sleep(1)
        print(f"\nSentinel, {fault}: {figures}; {repeated(faults)}")


async def test_a_name_that_moves_from_a_primary_that_lives_on_takes_everybody_along(tmp_path: Path) -> None:
    with replicated() as (old, new), proxied(tmp_path, old) as faults:
        await until_async(lambda: b"master_link_status:up" in new.command("INFO", "replication"))
        async with faults.load(may_repeat=True) as load:
            await asyncio.sleep(0.5)
            fault_s = time.monotonic()
            new.command("REPLICAOF", "NO", "ONE")
            for proxy in faults.proxies:
                proxy.target = new.port
            await asyncio.sleep(0.3)
            old.command("REPLICAOF", "127.0.0.1", str(new.port))
            faults.server = new
            figures = await served_after(load, time.monotonic(), fault_s)
        print(f"\nby name, demoted alive: {figures}; {repeated(faults)}")

        def left() -> bool:
            return old.command("CLIENT", "LIST", "TYPE", "NORMAL").count(b"id=") == 1  # this one

        await until_async(left, 2 * SERVICE_S)


async def test_a_process_that_starts_without_any_sentinel_waits_for_one(sentinels: Sentinels) -> None:
    await until_async(sentinels.agree, 15)
    sentinels.end()
    async with SystemFactory(sentinels.url, "sentinel")(__name__, lease_s=1, workers=0) as system:
        assert (await system.get("/alone")).status_code == 503

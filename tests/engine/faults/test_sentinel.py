"""A primary that Sentinels watch is killed or frozen: the replica takes over, and every request has its answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer, valkey_binary
from floodgate.run.processes import with_parent_death_signal
from floodgate.testing import System, SystemFactory
from shared import queued
from tests.engine.leaks import leaks
from tests.engine.system.system import free_ports, until_async

NAME = "main"
DOWN_MS = 1000
"""After which a Sentinel takes a server for gone."""
LEASE_S = 1.0
TIMEOUT_S = 4.0
LIMIT = 20
SERVICE_AFTER_S = 10.0
"""After the failover, at most, everything is served again: 3 s where nothing else runs."""
SERVED_S = 2.0
"""For so long after that, nothing fails."""


@queued("/quick", 1000, timeout_s=TIMEOUT_S)
async def quick() -> str:
    await asyncio.sleep(0.01)
    return "done"


@queued("/limited", LIMIT, timeout_s=TIMEOUT_S)
async def limited() -> str:
    await asyncio.sleep(0.2)
    return "done"


@queued("/once", 1000, method="POST", timeout_s=TIMEOUT_S)
async def once(number: int) -> int:
    STARTED[number] += 1
    await asyncio.sleep(0.05)
    return number


STARTED: Counter[int] = Counter()


class Watched:
    """A primary and its replica under three Sentinels, which know each other."""

    def __init__(self, directory: Path, servers: tuple[EmbeddedServer, EmbeddedServer], ports: list[int]) -> None:
        self.servers, self.ports = servers, ports
        first = servers[0].port
        self._processes = []
        for port in ports:
            conf = directory / f"{port}.conf"
            conf.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                f"sentinel monitor {NAME} 127.0.0.1 {first} 2\n"
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
        """Return whom the Sentinels name, as far as one answers."""
        for port in self.ports:
            with contextlib.suppress(Exception), Redis(port=port, socket_timeout=0.5) as sentinel:
                _, at = sentinel.sentinel_get_master_addr_by_name(NAME)
                return next(server for server in self.servers if server.port == int(at))
        return None

    def agrees(self) -> bool:
        """Tell whether every Sentinel knows the two others and the replica."""
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
def watched(tmp_path: Path) -> Iterator[Watched]:
    at_once = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    with EmbeddedServer(args=at_once) as primary, EmbeddedServer(args=at_once) as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
        watched = Watched(tmp_path, (primary, replica), free_ports(3))
        yield watched
        watched.end()


async def ask(system: System, method: str, path: str) -> tuple[int, float, float]:
    """Return status, when it was asked, and how long it took."""
    began_s = time.monotonic()
    answer = await system.request(method, path)
    return answer.status_code, began_s, time.monotonic() - began_s


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_the_replica_takes_over_and_every_request_is_answered(watched: Watched, fault: str) -> None:
    await until_async(watched.agrees, 15)
    old, new = watched.servers
    STARTED.clear()
    async with SystemFactory(watched.url, "sentinel")(__name__, lease_s=LEASE_S, workers=2) as system:
        asking: list[asyncio.Task[tuple[int, float, float]]] = []
        posts: list[asyncio.Task[tuple[int, float, float]]] = []

        async def load() -> None:
            for number in range(1_000_000):
                asking.append(asyncio.create_task(ask(system, "GET", "/quick")))
                if number % 3 == 0:
                    posts.append(asyncio.create_task(ask(system, "POST", f"/once?number={number}")))
                await asyncio.sleep(0.02)

        loading = asyncio.create_task(load())
        await asyncio.sleep(1)
        getattr(old, fault)()
        fault_s = time.monotonic()
        await until_async(lambda: watched.primary() is new, 15)
        failover_s = time.monotonic()

        def failed_s() -> float:
            """Return when the last one was asked that was not served."""
            done = [task.result() for task in asking if task.done()]
            return max((at_s for status, at_s, _ in done if status != 200), default=failover_s)

        async with asyncio.timeout(SERVICE_AFTER_S + SERVED_S):
            while time.monotonic() < max(failed_s(), failover_s) + TIMEOUT_S + SERVED_S:
                await asyncio.sleep(0.1)
        loading.cancel()
        answers = [await task for task in asking]
        told = [await task for task in posts]
        if fault == "freeze":
            old.thaw()
        assert {status for status, _, _ in answers} <= {200, 502, 503, 504}
        assert max(took_s for _, _, took_s in answers + told) < TIMEOUT_S + 1, "somebody was left hanging"
        again_s = max(failed_s(), failover_s)
        assert sum(at_s > again_s for _, at_s, _ in answers) > 50, "all of them were served"
        before = [status for status, at_s, took_s in answers if at_s + took_s < fault_s]
        assert set(before) == {200}
        assert max(STARTED.values()) == 1, "a POST was started twice"
        at_once = await asyncio.gather(*(ask(system, "GET", "/limited") for _ in range(60)))
        codes = Counter(status for status, _, _ in at_once)
        assert codes[200] <= LIMIT
        with contextlib.closing(Redis.from_url(new.url)) as client:
            keys = Keys("sentinel")
            await until_async(lambda: client.hlen(keys.of("tasks")) == 0, 5)
        gets, once_each = (Counter(status for status, _, _ in some) for some in (answers, told))
        after = f"failover after {failover_s - fault_s:.1f} s, served after {again_s - failover_s:.1f} s more"
        print(f"{fault}: {after}; GET {dict(gets)}, POST {dict(once_each)}")
    with contextlib.closing(Redis.from_url(new.url)) as client:
        assert leaks(client, Keys("sentinel")) == []


async def test_a_process_that_starts_without_any_sentinel_waits_for_one(watched: Watched) -> None:
    await until_async(watched.agrees, 15)
    watched.end()
    async with SystemFactory(watched.url, "sentinel")(__name__, lease_s=LEASE_S, workers=0) as system:
        assert (await system.get("/quick")).status_code == 503

"""A primary that is one no more, and says so on connections that stand: everybody goes where the name leads now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued
from tests.engine.proxying import Proxy
from tests.engine.system.system import until_async

LEASE_S = 1


@queued("/quick", 1000)
async def quick(x: int = 0) -> int:
    return x


@queued("/once", 100, method="POST", timeout_s=8)
async def once(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.fixture
def pair() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A primary and its replica."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with EmbeddedServer(args=at_once) as primary, EmbeddedServer(args=at_once) as replica:
        follow(replica, primary)
        yield primary, replica


def follow(replica: EmbeddedServer, primary: EmbeddedServer) -> None:
    replica.command("REPLICAOF", "127.0.0.1", str(primary.port))


async def served_for(system: System, seconds: float) -> None:
    """Return when every request was answered for so long."""
    limit_s, since_s = time.monotonic() + 10, time.monotonic()
    while time.monotonic() - since_s < seconds:
        assert time.monotonic() < limit_s, "it is not served again"
        if (await system.get("/quick")).status_code != 200:
            since_s = time.monotonic()
        await asyncio.sleep(0.05)


async def test_after_a_failover_that_cuts_no_connection_all_is_served_by_the_new_primary(
    pair: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    old, new = pair
    await until_async(lambda: b"master_link_status:up" in new.command("INFO", "replication"))
    with Proxy(old.port) as proxy:
        async with SystemFactory(proxy.url, "failover")(__name__, lease_s=LEASE_S, workers=2) as system:
            await served_for(system, 0.5)
            once = asyncio.create_task(system.post("/once?seconds=3"))
            await asyncio.sleep(0.2)
            new.command("REPLICAOF", "NO", "ONE")
            proxy.target = new.port
            follow(old, new)
            await served_for(system, 2 * LEASE_S)
            assert (await once).status_code == 200
            others = [line for line in old.command("CLIENT", "LIST", "TYPE", "NORMAL").splitlines() if b"id=" in line]
            assert len(others) == 1, f"somebody stayed with the old one: {others}"

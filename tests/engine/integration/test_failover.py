"""A primary that is one no more, or says nothing more, on connections that stand: all go where the name leads now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from floodgate.broker.call_metrics import Calls
from floodgate.broker.connection import connect
from floodgate.broker.envelopes import TaskOutcome, TaskReply, pack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.gateway.inbox import Inbox
from floodgate.operations.metrics import Metrics
from floodgate.operations.settings import Settings
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


async def test_a_frozen_primary_is_left_before_what_was_sent_to_it_runs_out_of_time(
    pair: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    old, new = pair
    await until_async(lambda: b"master_link_status:up" in new.command("INFO", "replication"))
    with Proxy(old.port) as proxy:
        async with SystemFactory(proxy.url, "frozen")(__name__, lease_s=LEASE_S) as system:
            await served_for(system, 0.5)
            old.freeze()
            new.command("REPLICAOF", "NO", "ONE")
            proxy.target = new.port
            moved_s = time.monotonic()
            asking = asyncio.create_task(served_for(system, 0.5))
            # The claim was sent a moment ago, and would stay for four seconds and a half; a complete for five.
            await until_async(lambda: b"cmd=blpop" in new.command("CLIENT", "LIST"), 3.5)
            await asking
            assert time.monotonic() - moved_s < 6.5
            old.thaw()


async def test_a_position_in_the_inbox_that_is_ahead_of_another_primary_loses_no_reply(
    pair: tuple[EmbeddedServer, EmbeddedServer],
) -> None:
    old, new = pair
    new.command("REPLICAOF", "NO", "ONE")
    came: list[str] = []
    key = Keys("ahead").inbox("process")

    class Waiting:
        def deliver(self, reply: TaskReply) -> bool:
            came.append(reply.task_id)
            return True

    class Owner:
        async def on_open(self, pipeline: Pipeline) -> None:
            await inbox.check(pipeline)

    def reply(server: EmbeddedServer, name: str, entry: str) -> None:
        with Redis.from_url(server.url) as client:
            client.xadd(key, {"r": pack_reply(TaskReply(name, TaskOutcome.DONE, 200))}, id=entry)

    dispatcher: Any = Waiting()
    with Proxy(old.port) as proxy:
        client = connect(Settings(redis_url=SecretStr(proxy.url), namespace="ahead"))
        inbox = Inbox(Pipeline(client.connection_pool, Owner()), key, dispatcher, Calls(Metrics(), "replies"))
        reply(old, "r.old", "2000-0")
        reading = asyncio.create_task(inbox.run())
        await until_async(lambda: came == ["r.old"])
        reply(new, "r.new", "1000-0")  # by a clock that is behind that of the server before
        proxy.target = new.port
        await asyncio.to_thread(proxy.reset)
        await until_async(lambda: came[1:] == ["r.new"])
        reading.cancel()
        await client.aclose()

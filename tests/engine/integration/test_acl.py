"""Everything that gateway and worker do, as the user that they have in containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from floodgate.broker.keys import Keys
from floodgate.run.acl import apps
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import SystemFactory
from shared import Context, queued

PASSWORD = "s3cret"


@queued("/quick", 10)
async def quick(x: int = 0) -> int:
    return x


@queued("/slow", 4, timeout_s=8, max_running=2)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@queued("/thread", 10, method="POST")
def thread(ctx: Context) -> str:
    return ctx.request_id


@queued("/long", 10, method="POST", async_timeout_s=60)
async def long(seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
async def admin(server: EmbeddedServer) -> AsyncIterator[Redis]:
    """A client that may everything, beside the user `floodgate` with the shipped rules."""
    async with Redis.from_url(server.url) as client:
        await client.execute_command("ACL", "SETUSER", "floodgate", "on", f">{PASSWORD}", *apps("shop").split())
        yield client


def as_user(server: EmbeddedServer) -> str:
    return server.url.replace("redis://", f"redis://floodgate:{PASSWORD}@")


async def refused(admin: Redis) -> list[Any]:
    """Return what the server refused: command or key, and why."""
    log: Any = await admin.execute_command("ACL", "LOG")
    return [(entry[1], entry[5], entry[3]) for entry in log]


async def test_the_whole_path_is_allowed(server: EmbeddedServer, admin: Redis) -> None:
    async with SystemFactory(as_user(server), "shop")(__name__, lease_s=1, workers=2) as system:
        assert (await system.get("/quick?x=1")).json() == 1
        assert (await system.post("/thread")).status_code == 200
        # Parked, refused for want of room, cancelled while it waits and while it runs.
        asked = [asyncio.create_task(system.get("/slow?seconds=1")) for _ in range(4)]
        await asyncio.sleep(0.3)
        assert (await system.get("/slow?seconds=0")).status_code == 503
        for task in (asked[0], asked[3]):
            task.cancel()
        rest = await asyncio.gather(*asked, return_exceptions=True)
        assert [getattr(answer, "status_code", None) for answer in rest].count(200) == 2
        async with system.lost(quick):
            assert (await system.get("/quick?x=2")).json() == 2
        async with system.late(slow):
            assert (await system.get("/slow?seconds=2")).status_code == 504
        accepted = await system.post("/long", headers={"Prefer": "respond-async"})
        assert accepted.status_code == 202
        where = accepted.headers["location"]
        async with asyncio.timeout(5):
            while (await system.get(where)).json() != "done":
                await asyncio.sleep(0.05)
        assert (await system.delete(where)).is_success
        letters = system.app.started_engine.dead_letters
        for _ in range(2):
            async with system.lost(thread):
                assert (await system.post("/thread")).status_code == 502
        for letter in (await letters.list()).letters:
            await letters.show(letter.error_id)
        assert (await letters.retry(letter.error_id)).accepted
        await letters.discard((await letters.list()).letters[0].error_id)
        await system.app.collect_metrics()
        system.workers[0].begin_drain()
        await asyncio.sleep(1.5)  # the reaper has been round, and has swept what the worker left
    assert await refused(admin) == []


async def test_a_server_that_lost_scripts_and_data_is_served_again(server: EmbeddedServer, admin: Redis) -> None:
    async with SystemFactory(as_user(server), "shop")(__name__, lease_s=1) as system:
        assert (await system.get("/quick")).status_code == 200
        await admin.flushall()
        await admin.script_flush()
        async with asyncio.timeout(5):
            while (await system.get("/quick")).status_code != 200:
                await asyncio.sleep(0.05)
    assert await refused(admin) == []


async def test_the_keys_of_another_namespace_are_closed_and_so_is_the_server_itself(
    server: EmbeddedServer, admin: Redis
) -> None:
    async with Redis.from_url(as_user(server), protocol=2) as client:
        assert await client.exists(Keys("shop").of("tasks")) == 0
        for key in (Keys("shop2").of("tasks"), Keys("sho").of("tasks"), "{shop}:1", "anything"):
            with pytest.raises(NoPermissionError):
                await client.exists(key)
        for command in ("FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "ACL LIST", "SHUTDOWN", "EVAL return 1 0"):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())

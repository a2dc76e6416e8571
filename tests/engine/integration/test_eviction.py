"""A Redis that throws keys away when it is full: said at every connect, and no new process is ready with it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis.asyncio import Redis

from floodgate.operations.metrics import EVICTS
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued
from tests.engine.system.system import until_async


@queued("/quick", 1000)
async def quick(x: int = 0) -> int:
    return x


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return who said that Redis evicts."""
    return [r.name for r in caplog.records if r.levelno == logging.ERROR and "maxmemory-policy" in r.getMessage()]


async def ready(system: System) -> bool:
    return (await system.get("/-/ready")).status_code == 200


async def evicts(system: System) -> float:
    return (await system.app.collect_metrics()).numbers(EVICTS)[0]


def server_with(*args: str) -> EmbeddedServer:
    return EmbeddedServer(args=("--maxmemory", "64mb", *args))


async def test_no_new_process_gets_ready_with_a_redis_that_evicts(caplog: pytest.LogCaptureFixture) -> None:
    with server_with("--maxmemory-policy", "volatile-lru") as server:
        async with SystemFactory(server.url, "evicts")(__name__, workers=0) as system:
            worker = system.start_worker()
            await until_async(lambda: all(consumer.working for consumer in worker._consumers))
            await until_async(lambda: {"floodgate.gateway", "floodgate.worker"} <= set(errors(caplog)))
            assert not await ready(system)
            assert not worker.ready
            assert await evicts(system) == 1
            assert (await system.get("/quick")).status_code == 200, "nobody is refused for it"


async def test_it_may_be_allowed_and_is_said_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with server_with("--maxmemory-policy", "volatile-lru") as server:
        async with SystemFactory(server.url, "evicts")(__name__, allow_eviction=True) as system:
            assert await ready(system)
            assert "floodgate.gateway" in errors(caplog)


async def test_a_process_that_has_been_ready_stays_so_when_the_policy_changes(caplog: pytest.LogCaptureFixture) -> None:
    with server_with() as server:
        async with SystemFactory(server.url, "evicts")(__name__) as system, Redis.from_url(server.url) as client:
            assert await ready(system)
            assert errors(caplog) == []
            await client.config_set("maxmemory-policy", "allkeys-lru")
            await client.client_kill_filter(_type="normal", skipme=True)
            assert (await system.get("/quick")).status_code in (200, 503)
            await until_async(lambda: "floodgate.gateway" in errors(caplog))
            await asyncio.sleep(0.3)
            assert await ready(system)


async def test_where_info_is_forbidden_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with server_with("--maxmemory-policy", "volatile-lru") as server:
        async with Redis.from_url(server.url) as client:
            await client.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~*", "+@all", "-info")
            async with SystemFactory(server.url.replace("//", "//narrow:word@"), "evicts")(__name__) as system:
                assert await ready(system)
                await client.client_kill_filter(_type="normal", skipme=True)
                await asyncio.sleep(0.5)
                await system.get("/quick")
        said = [r.name for r in caplog.records if "INFO says nothing" in r.getMessage()]
        assert sorted(said) == ["floodgate.gateway", "floodgate.worker"]

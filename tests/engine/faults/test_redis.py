"""Redis restarted, frozen, emptied, full, full of clients or badly reached: refused, and nobody is left hanging."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from benchmarks.arrivals import Request
from benchmarks.conservation import FETCH, Load
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.faults.conftest import SERVICE_S, Faults, proxied

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
PROMPT_S = 1.0
"""A refusal; promised is a fraction of it, on a machine that is not busy."""
STEADY_S = 1.2
ASYNC = "Prefer: respond-async\r\n"


@pytest.fixture
def redis(faults: Faults) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(faults.server.url)) as client:
        yield client


@contextlib.asynccontextmanager
async def service_returns(load: Load, within_s: float = SERVICE_S) -> AsyncIterator[None]:
    """The block is the fault: from its end on everything is served again within so many seconds, and stays so."""
    yield
    ended_s = time.monotonic()
    while load.served_again_s(ended_s) > time.monotonic() - ended_s - STEADY_S < within_s:
        await asyncio.sleep(0.1)
    again_s = load.served_again_s(ended_s)
    print(f"{sum(load.statuses(ended_s - 30).values())} sent, served again after {again_s:.1f} s", end="; ")
    assert again_s < within_s, load.statuses(ended_s)


def assert_prompt(load: Load, from_s: float, to_s: float) -> None:
    """Everybody who comes meanwhile is refused, and soon."""
    asked = [request for request in load.last if from_s <= request.intended_s < to_s]
    assert asked
    assert {request.status for request in asked} <= {502, 503}
    slow = [request.latency_s for request in asked if request.latency_s > PROMPT_S]
    assert slow == []


async def accepted(load: Load, count: int, run_s: float) -> list[str]:
    """Ask for so many answers that nobody waits for, and return where they can be fetched."""
    asked = await asyncio.gather(
        *(load.ask(f"/later?seconds={run_s}", kind="accepted", headers=ASYNC) for _ in range(count))
    )
    assert {request.status for request in asked} == {202}
    return [request.location for request in asked]


async def fetched(load: Load, place: str, limit_s: float) -> Request:
    """Ask for a result until it is there."""
    limit_s += time.monotonic()
    while (found := await load.ask(place, kind=FETCH)).status == 202 and time.monotonic() < limit_s:
        await asyncio.sleep(0.2)
    return found


async def test_a_restart_without_data_is_refused_for_and_nobody_waits_on(faults: Faults) -> None:
    async with faults.load() as load:
        await accepted(load, 4, 6)
        held = [asyncio.create_task(load.ask("/holds?seconds=3", method)) for method in ("GET", "POST")]
        await asyncio.sleep(0.2)
        async with service_returns(load):
            faults.server.kill()
            await asyncio.sleep(1)
            faults.server.start()
            back_s = time.monotonic()
        for task in held:
            request = await task
            assert request.status == (503 if request.method == "GET" else 502)
            assert request.done_s < back_s + 1 + PROMPT_S


@pytest.mark.parametrize("seconds", [1, 4, 20])
async def test_a_frozen_redis_is_refused_for_and_served_from_at_once(faults: Faults, seconds: int) -> None:
    async with faults.load() as load, service_returns(load):
        faults.server.freeze()
        frozen_s = time.monotonic()
        await asyncio.sleep(seconds)
        faults.server.thaw()
        if seconds > 1:
            # The first ones were sent to it already, and are asked after for two seconds.
            assert_prompt(load, frozen_s + 2, time.monotonic() - PROMPT_S)


async def test_connections_are_reset_again_and_again(faults: Faults) -> None:
    async with faults.load() as load, service_returns(load):
        for _ in range(15):
            await asyncio.sleep(0.2)
            for proxy in faults.proxies:
                await asyncio.to_thread(proxy.reset)
    served = load.statuses()
    assert served[200] > 0.95 * sum(served.values()), served


async def test_scripts_that_are_flushed_are_loaded_again_and_nobody_notices(faults: Faults, redis: Redis) -> None:
    async with faults.load() as load:
        for _ in range(10):
            redis.script_flush()
            await asyncio.sleep(0.1)
    assert set(load.statuses()) == {200}


async def test_without_a_connection_to_be_had_it_is_refused(faults: Faults, redis: Redis) -> None:
    before = str(redis.config_get("maxclients")["maxclients"])
    async with faults.load() as load, service_returns(load):
        redis.config_set("maxclients", 1)
        for proxy in faults.proxies:
            await asyncio.to_thread(proxy.reset)
        await asyncio.sleep(2)
        redis.config_set("maxclients", before)


async def test_a_full_redis_admits_nothing_ends_what_runs_and_goes_on(faults: Faults, redis: Redis) -> None:
    async with faults.load() as load:
        held = [asyncio.create_task(load.ask("/holds?seconds=1", method)) for method in ("GET", "POST")]
        await asyncio.sleep(0.2)
        async with service_returns(load):
            redis.config_set("maxmemory", 1)
            full_s = time.monotonic()
            await asyncio.sleep(2)
            assert_prompt(load, full_s + 0.2, time.monotonic() - PROMPT_S)
            redis.config_set("maxmemory", 0)
        assert [(await task).status for task in held] == [200, 200]


async def test_data_that_are_flushed_are_declared_anew(faults: Faults, redis: Redis) -> None:
    async with faults.load() as load, service_returns(load):
        for _ in range(3):
            redis.flushall()
            await asyncio.sleep(0.5)


NETWORKS = {"slow": {"delay_s": 0.02}, "lossy": {"lost_share": 0.02}}


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_bad_network_makes_answers_late_and_loses_none(faults: Faults, network: str) -> None:
    async with faults.load() as load, service_returns(load):
        for proxy in faults.proxies:
            vars(proxy).update(NETWORKS[network])
        await asyncio.sleep(4)
        for proxy in faults.proxies:
            proxy.delay_s = proxy.lost_share = 0.0
    served = load.statuses()
    assert served[200] > 0.8 * sum(served.values()), served


@pytest.mark.parametrize("whose", ["gateways", "workers"])
@pytest.mark.parametrize("way", ["there", "back"])
async def test_a_network_that_is_cut_one_way_is_one_that_is_cut(faults: Faults, whose: str, way: str) -> None:
    proxy = faults.proxies[whose == "workers"]
    async with faults.load() as load, service_returns(load):
        proxy.cut.add(way)
        await asyncio.sleep(2)
        proxy.cut.clear()


async def test_what_was_admitted_survives_a_restart_with_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    lasting = ("--appendonly", "yes", "--appendfsync", "always")
    with EmbeddedServer(args=lasting) as server, proxied(tmp_path_factory.mktemp("lasting"), server) as faults:
        async with faults.load() as load:
            places = await accepted(load, 4, 1.5)
            held = [asyncio.create_task(load.ask("/holds?seconds=2.5", method)) for method in ("GET", "POST")]
            await asyncio.sleep(0.2)
            async with service_returns(load):
                faults.server.kill()
                await asyncio.sleep(0.5)
                faults.server.start()
            assert [(await task).status for task in held] == [200, 200]
            assert [(await fetched(load, place, 10)).status for place in places] == [200] * 4

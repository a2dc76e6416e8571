"""Redis goes with its data in a file and comes back: who waits stays in its queue until the workers could renew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from redis.asyncio import Redis

from floodgate.broker.commands import declare, renew
from floodgate.broker.connection import connect, run
from floodgate.broker.keys import Keys, lane_of
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued

LEASE_S = 4.0
OUTAGE_S = 2.6
"""Longer than a registration."""


@queued("/quick", 100, timeout_s=12)
async def quick() -> str:
    return "done"


@queued("/slow", 100, method="POST", timeout_s=12)
async def slow() -> str:
    await asyncio.sleep(0.3)
    return "done"


@pytest.fixture
def lasting() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(args=("--appendonly", "yes", "--appendfsync", "always")) as running:
        yield running


async def register(system: System) -> None:
    """Register a worker that claims nothing, as often as it is called."""
    settings, release = system.settings, system.registry.release_digest
    keys, client, lane = Keys(settings.namespace), connect(settings), lane_of(release, "a", 0)
    await run(
        client,
        declare(
            keys, started_ms=1, limits={}, lanes=[lane], release=release, digests=system.registry.signature_digests
        ),
    )
    await run(
        client,
        renew(
            keys,
            consumer="idle.a.10",
            register_ms=settings.registration_ms,
            lease_ms=settings.lease_ms,
            lanes=[lane],
            leases=[],
        ),
    )
    await client.aclose()


async def waiting(system: System, url: str, count: int) -> None:
    handler = next(handler for handler in system.registry.handlers if handler.path == "/quick")
    async with Redis.from_url(url) as client, asyncio.timeout(5):
        while await client.zcard(Keys(system.settings.namespace).slots(handler.route)) < count:
            await asyncio.sleep(0.02)


async def outage(server: EmbeddedServer) -> None:
    server.kill()
    await asyncio.sleep(OUTAGE_S)
    server.start()


async def back(system: System) -> None:
    async with asyncio.timeout(10):
        while not (system.app.engine and system.app.engine.ready):
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_who_waits_is_not_refused_because_the_workers_could_not_renew(lasting: EmbeddedServer) -> None:
    async with SystemFactory(lasting.url, "away")(__name__, workers=0, lease_s=LEASE_S) as system:
        await register(system)
        await asyncio.sleep(1.1)  # the directory has been refreshed
        await register(system)
        asking = [asyncio.create_task(system.get("/quick")) for _ in range(3)]
        await waiting(system, lasting.url, 3)
        await outage(lasting)
        await back(system)
        await asyncio.sleep(1.3)  # and surveys before the first worker is there
        assert not any(asked.done() for asked in asking)
        system.start_worker()
        answers: list[httpx.Response] = await asyncio.gather(*asking)
        assert [answer.status_code for answer in answers] == [200] * 3


@pytest.mark.slow
async def test_no_gateway_seems_gone_because_redis_was(lasting: EmbeddedServer) -> None:
    async with SystemFactory(lasting.url, "away")(__name__, worker_concurrency=1, lease_s=1) as system:
        assert (await system.post("/slow")).status_code == 200
        asking = [asyncio.create_task(system.post("/slow")) for _ in range(6)]
        await asyncio.sleep(0.4)
        await outage(lasting)
        answers: list[httpx.Response] = await asyncio.gather(*asking)
        assert [answer.status_code for answer in answers] == [200] * 6

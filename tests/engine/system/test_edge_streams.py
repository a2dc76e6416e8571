"""Streams whose worker or gateway is killed or frozen: broken visibly, run once, and nothing follows."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from tests.engine.system.system import LEASE_S, App, System, until_async

pytestmark = pytest.mark.slow


class Reading:
    """A client that reads a stream; `whole` is None until it has ended."""

    def __init__(self, gateway: App, tag: str) -> None:
        self._url = f"{gateway.url}/ticks?tag={tag}"
        self.items: list[int] = []
        self.whole: bool | None = None

    async def read(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", self._url) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    self.items.append(int(line))
        except (httpx.RemoteProtocolError, httpx.ReadError):
            self.whole = False
        else:
            self.whole = True


@contextlib.asynccontextmanager
async def reading(gateway: App, tag: str) -> AsyncIterator[Reading]:
    """Read a stream while the block lasts, which begins with its first items."""
    found = Reading(gateway, tag)
    task = asyncio.create_task(found.read())
    try:
        await until_async(lambda: len(found.items) > 3)
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def apps(own: System) -> tuple[App, App]:
    """A gateway and a worker."""
    worker, gateway = own.worker(wait=False), own.gateway()
    await until_async(lambda: worker.ready and gateway.ready)
    return gateway, worker


async def test_a_killed_worker_s_stream_breaks_within_a_lease_and_runs_once(own: System, apps: tuple[App, App]) -> None:
    gateway, worker = apps
    other = own.worker()
    async with reading(gateway, "kill") as found:
        own.by_pid(own.pids("kill")[0]).kill()
        killed_s = time.monotonic()
        await until_async(lambda: found.whole is not None, LEASE_S + 4)
        assert found.whole is False
        assert time.monotonic() - killed_s < LEASE_S + 3
        assert found.items == list(range(len(found.items)))
    await asyncio.sleep(1)
    assert own.noted("kill") == ["start"]
    assert other.ready or worker.ready


async def test_a_killed_gateway_s_stream_is_stopped_and_its_slot_comes_free(own: System, apps: tuple[App, App]) -> None:
    gateway, _ = apps
    async with reading(gateway, "orphan"):
        gateway.kill()
        await until_async(lambda: "ended" in own.noted("orphan"), LEASE_S + 6)
    keys = Keys(own.env["FLOODGATE_NAMESPACE"])
    with contextlib.closing(Redis.from_url(own.env["REDIS_URL"])) as client:
        await until_async(lambda: not list(client.scan_iter(match=f"{keys.prefix}slots:*")), 3)


async def test_a_worker_that_was_frozen_past_its_lease_writes_nothing_more(own: System, apps: tuple[App, App]) -> None:
    gateway, worker = apps
    async with reading(gateway, "zombie") as found:
        worker.signal(signal.SIGSTOP)
        try:
            own.worker()  # which finds that the lease has ended
            await until_async(lambda: found.whole is not None, LEASE_S + 6)
        finally:
            worker.signal(signal.SIGCONT)
        assert found.whole is False
        await until_async(lambda: "ended" in own.noted("zombie"), 5)
    assert own.noted("zombie") == ["start", "ended"]

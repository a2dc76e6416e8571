"""Connections that are reset, idle or in use: whoever uses one next notices, and no loop ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import uvloop

from floodgate.broker.commands import reap
from floodgate.broker.connection import connect, redis_errors, run
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import Unavailable
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import SystemFactory
from shared import queued
from tests.engine.proxying import Proxy


@queued("/quick", 1000)
async def quick(x: int = 0) -> int:
    return x


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(server.port) as running:
        yield running


async def reset(proxy: Proxy) -> None:
    """Reset all connections, and let the loop hear of it."""
    assert await asyncio.to_thread(proxy.reset)
    await asyncio.sleep(0.05)


async def test_the_tests_run_on_the_loop_that_serves() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_an_idle_connection_of_the_ordinary_client_that_was_reset_is_not_used(
    proxy: Proxy, namespace: str
) -> None:
    client = connect(Settings(redis_url=proxy.url, namespace=namespace))
    call = reap(Keys(namespace), lease_ms=1000, period_ms=0)
    try:
        await run(client, call)
        for _ in range(3):
            await reset(proxy)
            await run(client, call)
    finally:
        await client.aclose()


async def test_an_idle_wire_that_was_reset_is_opened_anew_before_anything_is_sent(proxy: Proxy) -> None:
    client = connect(Settings(redis_url=proxy.url, namespace="wire"))
    opened: list[Pipeline] = []

    class Owner:
        async def on_open(self, pipeline: Pipeline) -> None:
            opened.append(pipeline)

    pipeline = Pipeline(client.connection_pool, Owner())
    try:
        assert await pipeline.execute([("PING",)], 1) == [b"PONG"]
        await reset(proxy)
        assert not pipeline.is_open
        assert await pipeline.execute([("PING",)], 1) == [b"PONG"]
        assert len(opened) == 2
    finally:
        await pipeline.close()
        await client.aclose()


async def test_a_write_on_a_closed_transport_is_an_unavailable_redis(proxy: Proxy) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    await asyncio.sleep(0.05)
    await reset(proxy)
    with pytest.raises(Unavailable), redis_errors():
        writer.write(b"PING\r\n")


async def test_a_mistake_of_ours_is_no_unavailable_redis() -> None:
    with pytest.raises(RuntimeError, match="ours"), redis_errors():
        raise RuntimeError("ours")


async def test_requests_are_answered_while_all_connections_are_reset(proxy: Proxy, namespace: str) -> None:
    async with SystemFactory(proxy.url, namespace)(__name__, lease_s=1) as system:
        ended = time.monotonic() + 4

        async def resetting() -> int:
            times = 0
            while time.monotonic() < ended:
                await asyncio.to_thread(proxy.reset)
                times += 1
                await asyncio.sleep(0.2)
            return times

        async def asking(x: int) -> bool:
            return (await system.get(f"/quick?x={x}")).status_code == 200

        async def all_asking() -> list[bool]:
            asked: list[asyncio.Task[bool]] = []
            while time.monotonic() < ended:
                asked.append(asyncio.create_task(asking(len(asked))))
                await asyncio.sleep(0.01)
            return list(await asyncio.gather(*asked))

        times, answers = await asyncio.gather(resetting(), all_asking())
        assert times > 10
        assert not any(worker.running.done() for worker in system.workers)
        assert answers.count(True) / len(answers) >= 0.8, "a busy machine loses more; how much is measured elsewhere"


async def test_a_gateway_that_nobody_asks_is_ready_again_by_itself(proxy: Proxy, namespace: str) -> None:
    async with SystemFactory(proxy.url, namespace)(__name__, lease_s=1) as system:
        await reset(proxy)
        async with asyncio.timeout(5):
            while not system.app.ready:
                await asyncio.sleep(0.02)

"""What the protocol promises of connections, wake-ups and drains, on the engines themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy.embedded import EmbeddedServer
from gateway_app.answers import Answer, Trouble
from shared.queue.keys import Keys
from tests.whole import Whole, whole

ACL = Path(__file__).parents[2] / "deploy/redis.acl"


@pytest.fixture
async def system(redis_url: str, namespace: str) -> AsyncIterator[Whole]:
    async with whole(redis_url, namespace) as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


def body(answer: Answer) -> bytes:
    assert answer.reply is not None, answer
    return answer.reply.body


async def kill(client: Redis, *commands: str) -> int:
    """Reset the connections whose last command is one of these."""
    found = [c for c in await client.client_list() if c["cmd"] in commands]
    for connection in found:
        await client.client_kill_filter(_id=connection["id"])
    return len(found)


async def test_a_request_travels_there_and_back(system: Whole) -> None:
    assert body(await system.ask("quick", "x=7")) == b"7"


async def test_a_parked_claimer_is_woken_at_once(system: Whole) -> None:
    await asyncio.sleep(0.1)
    took = []
    for _ in range(20):
        began = time.monotonic()
        await system.ask("quick")
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.1


async def test_replies_arrive_while_inbox_and_claim_connections_are_killed(redis_url: str, namespace: str) -> None:
    async with whole(redis_url, namespace, lease_s=5) as system, Redis.from_url(redis_url) as client:

        async def killing() -> int:
            killed = 0
            for _ in range(25):
                killed += await kill(client, "xread", "blpop")
                await asyncio.sleep(0.1)
            return killed

        async def asking(x: int) -> float:
            await asyncio.sleep(x * 0.02)
            began = time.monotonic()
            assert body(await system.ask("quick", f"x={x}")) == str(x).encode()
            return time.monotonic() - began

        killed, *took = await asyncio.gather(killing(), *(asking(x) for x in range(100)))
        assert killed > 10
        assert max(took) < 4.5, "none waited for a lease of 5 s"


async def test_a_connection_reset_in_the_turn_of_the_push_costs_a_second_at_most(system: Whole, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        for _ in range(15):
            began = time.monotonic()
            asking = asyncio.create_task(system.ask("quick", "x=1"))
            await kill(client, "blpop")
            assert body(await asking) == b"1"
            assert time.monotonic() - began < 1.5


async def test_the_next_sync_task_starts_when_a_thread_is_free(redis_url: str, namespace: str) -> None:
    async with whole(redis_url, namespace, worker_threads=2) as system:
        await system.ask("thread", "seconds=0")
        answers = await asyncio.gather(*(system.ask("thread") for _ in range(3)))
        waits = sorted(answer.reply.wait_ms for answer in answers if answer.reply)
        assert len(waits) == 3
        assert waits[2] - 200 < 60


async def test_a_post_interrupted_by_a_drain_is_not_run_again(redis_url: str, namespace: str) -> None:
    async with whole(redis_url, namespace, drain_s=0.3) as system:
        first, _ = system.workers[0]
        asking = asyncio.create_task(system.ask("once", "seconds=5"))
        await asyncio.sleep(0.2)
        await system.add_worker()
        first.begin_drain()
        assert (await asking).trouble is Trouble.LOST


async def test_a_get_interrupted_by_a_drain_is_run_by_another_worker(redis_url: str, namespace: str) -> None:
    async with whole(redis_url, namespace, drain_s=0.3) as system:
        first, _ = system.workers[0]
        asking = asyncio.create_task(system.ask("slow", "seconds=1.5"))
        await asyncio.sleep(0.2)
        await system.add_worker()
        first.begin_drain()
        assert body(await asking) == b'"done"'


async def test_work_that_fits_the_grace_time_is_ended_by_a_leaving_worker(system: Whole) -> None:
    asking = asyncio.create_task(system.ask("once", "seconds=0.5"))
    await asyncio.sleep(0.2)
    system.workers[0][0].begin_drain()
    assert body(await asking) == b'"done"'


async def test_without_a_worker_a_request_is_refused_at_once(system: Whole) -> None:
    worker, running = system.workers[0]
    worker.begin_drain()
    await running
    began = time.monotonic()
    assert (await system.ask("quick")).trouble is Trouble.NO_WORKER
    assert time.monotonic() - began < 0.5


async def test_a_freeze_of_redis_ends_no_lease(own_server: EmbeddedServer) -> None:
    async with whole(own_server.url, "frozen", workers=2, lease_s=2) as system:
        asking = [asyncio.create_task(system.ask("once", "seconds=4.5")) for _ in range(5)]
        await asyncio.sleep(0.5)
        own_server.freeze()
        await asyncio.sleep(3)
        own_server.thaw()
        assert [body(answer) for answer in await asyncio.gather(*asking)] == [b'"done"'] * 5


async def test_a_frozen_redis_admits_nothing_late(own_server: EmbeddedServer) -> None:
    async with whole(own_server.url, "ghost") as system, Redis.from_url(own_server.url) as client:
        own_server.freeze()
        answer = await system.ask("quick")
        assert answer.trouble in (Trouble.UNAVAILABLE, Trouble.LATE)
        own_server.thaw()
        await asyncio.sleep(0.5)
        (handler,) = (h for h in system.registry.handlers if h.name == "quick")
        assert await client.zcard(Keys("ghost").slots(handler.route)) == 0
        assert body(await system.ask("quick", "x=3")) == b"3"


async def test_a_server_that_lost_its_data_is_served_again_within_seconds(own_server: EmbeddedServer) -> None:
    async with whole(own_server.url, "flushed") as system, Redis.from_url(own_server.url) as client:
        assert body(await system.ask("quick", "x=1")) == b"1"
        await client.flushall()
        await asyncio.sleep(2.5)
        assert body(await system.ask("quick", "x=2")) == b"2"


async def test_the_shipped_acl_is_enough_for_everything(own_server: EmbeddedServer) -> None:
    async with Redis.from_url(own_server.url) as client:
        for line in reversed(ACL.read_text().splitlines()):
            _, name, *rules = line.split()
            if name != "default":
                await client.execute_command("ACL", "SETUSER", name, *rules)
    url = own_server.url.replace("redis://", "redis://floodgate:password@")
    async with whole(url, "floodgate") as system:
        assert body(await system.ask("quick", "x=1")) == b"1"
        stays = asyncio.create_task(system.ask("slow", "seconds=5"))
        await asyncio.sleep(0.3)
        stays.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stays
        await asyncio.sleep(1.5)
        async with Redis.from_url(own_server.url) as client:
            refused = await client.execute_command("ACL", "LOG")
        assert refused == []

"""What the protocol promises of connections, wake-ups and drains, on the engines themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from floodgate.broker import commands as calls
from floodgate.broker.keys import Keys
from floodgate.gateway import admission
from floodgate.gateway.worker_directory import WorkerDirectory
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued


@queued("/quick", 1000)
async def quick(x: int = 0) -> int:
    return x


@queued("/slow", 100, timeout_s=8)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@queued("/thread", 100)
def thread(seconds: float = 0.2) -> str:
    time.sleep(seconds)
    return "done"


@queued("/once", 100, method="POST", timeout_s=8)
async def once(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.fixture
async def system(floodgate: SystemFactory) -> AsyncIterator[System]:
    async with floodgate(__name__, lease_s=1) as running:
        yield running


def result(answer: httpx.Response) -> object:
    assert answer.status_code == 200, answer.text
    return answer.json()


def failure(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["title"])


async def served_again(system: System) -> None:
    """Return with the first answer; each side tries at least once a second."""
    async with asyncio.timeout(2.5):
        while (await system.get("/quick")).status_code != 200:
            await asyncio.sleep(0.05)


async def kill(client: Redis, *commands: str) -> int:
    """Reset the connections whose last command is one of these."""
    found = [c for c in await client.client_list() if c["cmd"] in commands]
    for connection in found:
        await client.client_kill_filter(_id=connection["id"])
    return len(found)


async def test_a_request_travels_over_a_unix_socket_too() -> None:
    with EmbeddedServer(unix=True) as server:
        async with SystemFactory(server.url, "unix")(__name__, lease_s=1) as system:
            assert result(await system.get("/quick?x=7")) == 7


async def test_a_parked_claimer_is_woken_at_once(system: System) -> None:
    await asyncio.sleep(0.1)
    took = []
    for _ in range(20):
        began = time.monotonic()
        await system.get("/quick")
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.1


async def test_replies_arrive_while_inbox_and_claim_connections_are_killed(
    floodgate: SystemFactory, redis_url: str
) -> None:
    async with floodgate(__name__, lease_s=5) as system, Redis.from_url(redis_url) as client:

        async def killing() -> int:
            killed = 0
            for _ in range(25):
                killed += await kill(client, "xread", "blpop")
                await asyncio.sleep(0.1)
            return killed

        async def asking(x: int) -> float:
            await asyncio.sleep(x * 0.02)
            began = time.monotonic()
            assert result(await system.get(f"/quick?x={x}")) == x
            return time.monotonic() - began

        killed, *took = await asyncio.gather(killing(), *(asking(x) for x in range(100)))
        assert killed > 10
        assert max(took) < 4.5, "none waited for a lease of 5 s"


async def test_a_connection_reset_in_the_turn_of_the_push_costs_a_second_at_most(
    system: System, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as client:
        for _ in range(15):
            began = time.monotonic()
            asking = asyncio.create_task(system.get("/quick?x=1"))
            await kill(client, "blpop")
            assert result(await asking) == 1
            assert time.monotonic() - began < 1.5


async def test_the_next_sync_task_starts_when_a_thread_is_free(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, worker_threads=2) as system:
        await system.get("/thread?seconds=0")
        began = time.monotonic()
        await asyncio.gather(*(system.get("/thread") for _ in range(3)))
        assert 0.4 <= time.monotonic() - began < 0.6


async def test_a_post_interrupted_by_a_drain_is_not_run_again(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, drain_s=0.3) as system:
        (first,) = system.workers
        asking = asyncio.create_task(system.post("/once?seconds=5"))
        await asyncio.sleep(0.2)
        await system.add_worker()
        first.begin_drain()
        assert failure(await asking) == "Worker lost"


async def test_a_get_interrupted_by_a_drain_is_run_by_another_worker(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, drain_s=0.3) as system:
        (first,) = system.workers
        asking = asyncio.create_task(system.get("/slow?seconds=1"))
        await asyncio.sleep(0.2)
        await system.add_worker()
        first.begin_drain()
        assert result(await asking) == "done"


async def test_work_that_fits_the_grace_time_is_ended_by_a_leaving_worker(system: System) -> None:
    asking = asyncio.create_task(system.post("/once?seconds=0.5"))
    await asyncio.sleep(0.2)
    system.workers[0].begin_drain()
    assert result(await asking) == "done"


async def test_a_request_that_is_moved_is_judged_by_what_is_left_of_its_time(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody serves its lane for one refresh, after it has waited there for a second."""
    asked: list[calls.AdmitRequest] = []

    def noting(*args: Any, requests: Sequence[calls.AdmitRequest], **more: Any) -> calls.Call[calls.AdmitReply]:
        asked.extend(requests)
        return calls.admit(*args, requests=requests, **more)

    monkeypatch.setattr(admission, "admit", noting)
    async with floodgate(__name__, lease_s=1, worker_concurrency=1) as system:
        running = asyncio.create_task(system.get("/slow?seconds=4"))
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(system.get("/slow?seconds=0"))
        await asyncio.sleep(1)
        serves = WorkerDirectory.serves
        monkeypatch.setattr(WorkerDirectory, "serves", lambda *_: False)
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(WorkerDirectory, "serves", serves)
        assert (await running).status_code == 200
        assert (await waiting).status_code == 200
    first, again = asked[1], asked[2]
    assert first.kind.budget_ms == 8000
    assert 4000 < again.kind.budget_ms <= 7000
    assert abs(again.deadline_ms - first.deadline_ms) < 100


async def test_without_a_worker_a_request_is_refused_at_once(system: System) -> None:
    await system.end_workers()
    began = time.monotonic()
    refused = await system.get("/quick")
    assert time.monotonic() - began < 0.6
    assert failure(refused) == "No worker"
    assert int(refused.headers["retry-after"]) in (1, 2)
    assert (await system.get("/-/ready")).status_code == 200


async def test_a_freeze_of_redis_ends_no_lease(own_server: EmbeddedServer) -> None:
    async with SystemFactory(own_server.url, "frozen")(__name__, workers=2, lease_s=1) as system:
        asking = [asyncio.create_task(system.post("/once?seconds=3.5")) for _ in range(5)]
        await asyncio.sleep(0.3)
        own_server.freeze()
        await asyncio.sleep(2.5)
        own_server.thaw()
        assert [result(answer) for answer in await asyncio.gather(*asking)] == ["done"] * 5


async def test_a_frozen_redis_admits_nothing_late(own_server: EmbeddedServer) -> None:
    async with (
        SystemFactory(own_server.url, "ghost")(__name__, lease_s=1) as system,
        Redis.from_url(own_server.url) as client,
    ):
        own_server.freeze()
        answer = await system.get("/quick")
        assert failure(answer) in ("Unavailable", "Deadline exceeded")
        own_server.thaw()
        await asyncio.sleep(0.5)
        (handler,) = (h for h in system.registry.handlers if h.function is quick)
        assert await client.zcard(Keys("ghost").slots(handler.route)) == 0
        await served_again(system)

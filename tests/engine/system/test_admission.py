"""The door end to end: rates, refusals before the body, less time, running limits, tenants and classes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import App, System, served, until_async

HANDLERS = "tests.engine.system.admission_handlers"
PLACES = 4


@pytest.fixture(scope="module")
def door(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway and one worker with four places."""
    with served(server, tmp_path_factory, HANDLERS, worker_concurrency=PLACES) as running:
        yield running


@pytest.fixture
def gateway(door: System) -> App:
    return door.apps[0]


@pytest.fixture
async def client(gateway: App) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15, limits=limits) as opened:
        yield opened


def tag(name: str) -> str:
    return f"{name}-{time.monotonic_ns()}"


def refused_without_body(gateway: App, path: str) -> bytes:
    """Send a head that announces a body, and no body; return what comes back."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=3) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n".encode()
        )
        return connection.recv(65536)


async def test_a_rate_lets_its_bucket_through_and_refuses_before_the_body(
    client: httpx.AsyncClient, gateway: App, door: System, server: EmbeddedServer
) -> None:
    name = tag("rated")
    answers = [await client.post("/rated", json={"tag": name}) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert_problem(answers[3], 429)
    assert 1 <= int(answers[3].headers["retry-after"]) <= 3
    with contextlib.closing(Redis.from_url(server.url)) as redis:
        before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        raw = await asyncio.to_thread(refused_without_body, gateway, "/rated")
        assert raw.startswith(b"HTTP/1.1 429")
        for _ in range(20):
            assert (await client.post("/rated", json={"tag": name})).status_code == 429
        after = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before < 20  # what both processes call by the clock alone
    assert door.noted(name).count("start") == 3


async def test_what_is_full_is_refused_from_memory_for_a_moment_and_without_the_body(
    client: httpx.AsyncClient, gateway: App
) -> None:
    name = tag("narrow")
    taken = [asyncio.create_task(client.post("/narrow", json={"tag": name, "seconds": 1.0})) for _ in range(2)]
    waiting = 0
    statuses: list[int] = []
    until_s = time.monotonic() + 0.8
    await asyncio.sleep(0.2)
    while time.monotonic() < until_s:
        answer = await client.post("/narrow", json={"tag": name})
        statuses.append(answer.status_code)
        waiting += answer.headers.get("retry-after") is not None
    assert set(statuses) == {503}
    assert waiting == len(statuses)
    assert [t.status_code for t in await asyncio.gather(*taken)] == [200, 200]
    assert (await client.post("/narrow", json={"tag": name})).status_code == 200


async def test_a_client_that_wants_less_time_gets_its_504_then_and_the_handler_is_stopped(
    client: httpx.AsyncClient, door: System
) -> None:
    name = tag("less")
    started_s = time.monotonic()
    answer = await client.post("/narrow", json={"tag": name, "seconds": 4}, headers={"prefer": "wait=1"})
    assert answer.status_code == 504
    assert 0.9 < time.monotonic() - started_s < 1.5
    await until_async(lambda: "stopped" in door.noted(name))


async def test_never_more_run_at_once_than_the_running_limit_and_all_are_answered(
    client: httpx.AsyncClient, door: System
) -> None:
    for _ in range(3):  # without a sample, the door is careful
        assert (await client.get("/few?tag=warm&seconds=0.15")).status_code == 200
    name = tag("few")
    asked = [client.get(f"/few?tag={name}&seconds=0.15") for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert {a.status_code for a in answers} == {200}
    running = most = 0
    for event in door.noted(name):
        running += 1 if event == "start" else -1
        most = max(most, running)
    assert most == 2


async def test_a_waiting_client_behind_the_running_limit_that_leaves_makes_room(
    client: httpx.AsyncClient, door: System, server: EmbeddedServer
) -> None:
    name = tag("few-left")
    held = [asyncio.create_task(client.get(f"/few?tag={name}&seconds=1")) for _ in range(2)]
    await until_async(lambda: door.noted(name).count("start") == 2)
    parked = [asyncio.create_task(client.get(f"/few?tag={name}-p&seconds=0")) for _ in range(3)]
    await asyncio.sleep(0.3)
    for task in parked:
        task.cancel()
    await asyncio.gather(*parked, return_exceptions=True)
    assert [t.status_code for t in await asyncio.gather(*held)] == [200, 200]
    await asyncio.sleep(0.3)
    assert door.noted(f"{name}-p") == []
    assert (await client.get(f"/few?tag={name}-after&seconds=0")).status_code == 200


async def test_a_tenant_that_floods_leaves_room_for_another(client: httpx.AsyncClient) -> None:
    def ask(tenant: str, seconds: float) -> Any:
        headers = {"x-tenant": tenant}
        return client.get(f"/shared?tag={tag(tenant)}&seconds={seconds}", headers=headers)

    noisy = [asyncio.create_task(ask("noisy", 0.6)) for _ in range(20)]
    await asyncio.sleep(0.3)
    polite = await ask("polite", 0.1)
    assert polite.status_code == 200
    statuses = [a.status_code for a in await asyncio.gather(*noisy)]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= 6  # three quarters of eight


async def test_a_strange_tenant_is_a_tenant(client: httpx.AsyncClient) -> None:
    for tenant in ("a|b", "~", "x" * 5000, "\u00e4\u00f6"):
        headers = [(b"x-tenant", tenant.encode("latin-1"))]
        assert (await client.get(f"/shared?tag={tag('odd')}&seconds=0", headers=headers)).status_code == 200


async def test_the_critical_are_served_before_the_bulk_that_came_first(client: httpx.AsyncClient, door: System) -> None:
    name = tag("ranked")
    bulk = [asyncio.create_task(client.get(f"/ranked?tag={name}&seconds=0.25&class=bulk")) for _ in range(16)]
    await until_async(lambda: door.noted(name).count("start") == PLACES)
    started_s = time.monotonic()
    critical = await client.get(f"/ranked?tag={name}-c&seconds=0.05&class=critical")
    took_s = time.monotonic() - started_s
    assert critical.status_code == 200
    assert took_s < 0.6  # the next place that comes free, not the last of the bulk
    await asyncio.gather(*bulk)


async def test_an_unknown_class_is_an_error_that_tells_nothing(client: httpx.AsyncClient, gateway: App) -> None:
    answer = await client.get("/ranked?tag=x&seconds=0&class=secret")
    assert answer.status_code == 500
    assert b"secret" not in answer.content

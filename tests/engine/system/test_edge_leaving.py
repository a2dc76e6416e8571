"""Clients that leave and deadlines that pass: what waits never runs, what runs is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.conftest import PLACES, THREADS
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import App, System, until_async


@contextlib.asynccontextmanager
async def leaving(gateway: App, path: str) -> AsyncIterator[None]:
    """Ask; the client leaves at the end of the block."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def all_places_taken(client: httpx.AsyncClient, edge: System, path: str, places: int) -> AsyncIterator[None]:
    """While the block runs, whatever is asked of this kind of handler has to wait."""
    tag = f"full-{path.strip('/')}-{time.monotonic_ns()}"
    seconds = 1.5
    asked = [asyncio.create_task(client.get(f"{path}?tag={tag}&seconds={seconds}")) for _ in range(places)]
    await until_async(lambda: edge.noted(tag).count("start") == places)
    try:
        yield
    finally:
        assert {response.status_code for response in await asyncio.gather(*asked)} == {200}


@pytest.fixture
def in_system(edge: System, server: EmbeddedServer) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(server.url)) as redis:
        yield redis


KINDS = {"/sleep": ("/short", PLACES), "/look": ("/look-short", THREADS)}
"""Async and sync: the patient handler, the one with little time, and how many run at once."""


@pytest.mark.parametrize("path", KINDS)
async def test_a_client_that_leaves_while_waiting_frees_its_slot_and_nothing_runs(
    client: httpx.AsyncClient, gateway: App, edge: System, in_system: Redis, path: str
) -> None:
    _, places = KINDS[path]
    tasks, tag = Keys(edge.env["FLOODGATE_NAMESPACE"]).of("tasks"), f"left-waiting-{path[1:]}"
    async with all_places_taken(client, edge, path, places):
        async with leaving(gateway, f"{path}?tag={tag}&seconds=0"):
            await until_async(lambda: in_system.hlen(tasks) == places + 1)
        assert await until_async(lambda: in_system.hlen(tasks) == places) < 1
    assert (await client.get(f"{path}?tag=after&seconds=0")).status_code == 200
    assert edge.noted(tag) == []


@pytest.mark.parametrize("path", KINDS)
async def test_a_client_that_leaves_while_its_handler_runs_stops_it(gateway: App, edge: System, path: str) -> None:
    tag = f"left-running-{path[1:]}"
    async with leaving(gateway, f"{path}?tag={tag}&seconds=5"):
        await until_async(lambda: edge.noted(tag) == ["start"])
    assert await until_async(lambda: edge.noted(tag) == ["start", "stopped"]) < 1


@pytest.mark.parametrize("path", KINDS)
async def test_a_deadline_that_passes_while_waiting_is_504_and_nothing_runs(
    client: httpx.AsyncClient, edge: System, path: str
) -> None:
    short, places = KINDS[path]
    tag = f"late-waiting-{path[1:]}"
    # Known as quick: who asks beside runs of 1.5 s that are expected to take as long would be refused at once.
    for _ in range(100 // places):
        await asyncio.gather(*(client.get(f"{path}?tag=quick&seconds=0") for _ in range(places)))
    async with all_places_taken(client, edge, path, places):
        start_s = time.monotonic()
        assert_problem(await client.get(f"{short}?tag={tag}&seconds=0"), 504)
        assert 0.55 < time.monotonic() - start_s < 2
    assert (await client.get(f"{short}?tag=after&seconds=0")).status_code == 200
    assert edge.noted(tag) == []


@pytest.mark.parametrize("path", KINDS)
async def test_a_deadline_that_passes_while_the_handler_runs_is_504_and_stops_it(
    client: httpx.AsyncClient, edge: System, path: str
) -> None:
    short, _ = KINDS[path]
    tag = f"late-running-{path[1:]}"
    start_s = time.monotonic()
    assert_problem(await client.get(f"{short}?tag={tag}&seconds=5"), 504)
    assert 0.55 < time.monotonic() - start_s < 2
    assert await until_async(lambda: edge.noted(tag) == ["start", "stopped"]) < 1

"""What is promised of streamed answers, on a gateway under its own server and a worker in the process of the test."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from fastapi.sse import EventSourceResponse
from redis.asyncio import Redis
from starlette.responses import StreamingResponse

from floodgate import HTTPError, Reply
from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.testing import System, SystemFactory
from shared import queued

KIB = 1024
WINDOW_BYTES = 64 * KIB
OnFirst = Callable[[], Awaitable[None]]
SEEN: Counter[str] = Counter()
"""What handlers did, by their own word."""


class Received(NamedTuple):
    text: str
    whole: bool
    """It came to its end, as far as HTTP tells."""


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


@queued("/count", 100)
async def count(n: int, pause_s: float = 0.0) -> AsyncIterator[int]:
    for i in range(n):
        yield i
        if pause_s:
            await asyncio.sleep(pause_s)


@queued("/events", 100, timeout_s=2, stream_s=4, response_class=EventSourceResponse)
async def events(n: int, fails: bool = False, before: bool = False, lasts_s: float = 0.0) -> AsyncIterator[int]:
    if before:
        raise HTTPError(409, "not now")
    for i in range(n):
        yield i
        await asyncio.sleep(0.02)
    await asyncio.sleep(lasts_s)
    if fails:
        raise HTTPError(409, "too late to say so")


@queued("/head", 100, timeout_s=0.5, stream_s=10)
async def head(before_s: float = 0.0, after_s: float = 0.0) -> AsyncIterator[Reply[None] | str]:
    await asyncio.sleep(before_s)
    yield Reply(None, 201, {"x-kind": "own"})
    await asyncio.sleep(after_s)
    yield "first"


@queued("/waits", 100, stream_s=30)
async def waits() -> AsyncIterator[int]:
    try:
        yield 1
        SEEN["waiting"] += 1
        await asyncio.sleep(20)
    finally:
        SEEN["ended"] += 1


@queued("/bytes", 100, stream_s=30, stream_idle_s=1, response_class=StreamingResponse)
async def raw(n: int, size: int, then_s: float = 0.0) -> AsyncIterator[bytes]:
    try:
        for _ in range(n):
            SEEN["bytes"] += size
            yield b"x" * size
        await asyncio.sleep(then_s)
    finally:
        SEEN["ended"] += 1


@queued("/thread", 100, stream_s=30)
def thread(n: int, pause_s: float = 0.0) -> Iterator[int]:
    try:
        for i in range(n):
            SEEN["yielded"] += 1
            yield i
            if pause_s:
                time.sleep(pause_s)
    finally:
        SEEN["ended"] += 1


@queued("/quick", 100)
async def quick() -> int:
    return 1


@asynccontextmanager
async def served(system: System) -> AsyncIterator[str]:
    """Serve the gateway of a system as it is served elsewhere; its lifespan runs already."""
    server = uvicorn.Server(uvicorn.Config(system.app, port=0, lifespan="off", log_level="error"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await ticking
        server.force_exit = True
        await server.shutdown()


@pytest.fixture
async def system(floodgate: SystemFactory) -> AsyncGenerator[System]:
    async with floodgate(__name__, lease_s=2, stream_window_bytes=WINDOW_BYTES) as running:
        yield running


@pytest.fixture
async def client(system: System) -> AsyncGenerator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with served(system) as url, httpx.AsyncClient(base_url=url, timeout=20, limits=limits) as found:
        yield found


async def until(word: str, least: int = 1, limit_s: float = 5.0) -> float:
    """Return how long it took a handler to have done something so often."""
    began_s = time.monotonic()
    async with asyncio.timeout(limit_s):
        while SEEN[word] < least:
            await asyncio.sleep(0.005)
    return time.monotonic() - began_s


async def idle(system: System) -> None:
    """Return when no slot is taken."""
    async with asyncio.timeout(5):
        async with Redis.from_url(system.settings.redis) as redis:
            while await redis.keys(f"{Keys(system.settings.namespace).prefix}slots:*"):
                await asyncio.sleep(0.01)


async def read(client: httpx.AsyncClient, path: str, on_first: OnFirst | None = None, **params: Any) -> Received:
    """Read a stream to its end, or to where it breaks; `on_first` happens once something has come."""
    found, whole = "", False
    with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
        async with client.stream("GET", path, params=params) as answer:
            assert answer.status_code == 200
            async for text in answer.aiter_text():
                if on_first is not None and not found:
                    await on_first()
                found += text
            whole = True
    return Received(found, whole)


def numbers(body: str) -> list[int]:
    return [int(line) for line in body.splitlines()]


@pytest.mark.parametrize("n", [0, 1, 3, 5000])
async def test_all_items_arrive_once_in_their_order(client: httpx.AsyncClient, n: int) -> None:
    answer = await client.get("/count", params={"n": n})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl"
    assert numbers(answer.text) == list(range(n))


@pytest.mark.slow
async def test_items_arrive_while_the_handler_goes_on(client: httpx.AsyncClient) -> None:
    began_s = time.monotonic()
    async with client.stream("GET", "/count", params={"n": 3, "pause_s": 1}) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "0"
        assert time.monotonic() - began_s < 0.9
        assert [line async for line in lines] == ["1", "2"]


@pytest.mark.slow
async def test_the_head_is_the_first_item_s(client: httpx.AsyncClient) -> None:
    began_s = time.monotonic()
    async with client.stream("GET", "/head", params={"after_s": 1}) as answer:
        assert (answer.status_code, answer.headers["x-kind"]) == (201, "own")
        assert time.monotonic() - began_s < 0.9
        assert await answer.aread() == b'"first"\n'


async def test_before_the_head_all_is_as_ever(client: httpx.AsyncClient) -> None:
    assert (await client.get("/head", params={"before_s": 2})).status_code == 504
    answer = await client.get("/events", params={"n": 1, "before": True})
    assert (answer.status_code, answer.json()) == (409, {"detail": "not now"})
    assert (await client.get("/events", params={"n": "none"})).status_code == 422


@pytest.mark.parametrize("n", [1, 20])
async def test_an_error_after_the_head_is_told_and_breaks_the_stream(client: httpx.AsyncClient, n: int) -> None:
    received, whole = await read(client, "/events", n=n, fails=True)
    assert not whole
    data = "".join(f"data: {i}\n\n" for i in range(n))
    assert received.startswith(f"{data}event: problem\ndata: {{")
    assert "too late" not in received
    assert '"status":500' in received


@pytest.mark.slow
async def test_the_time_of_the_whole_ends_a_stream(client: httpx.AsyncClient) -> None:
    began_s = time.monotonic()
    received, whole = await read(client, "/events", n=1, lasts_s=20)
    assert not whole
    assert '"status":504' in received
    assert 3.5 < time.monotonic() - began_s < 7


async def test_a_client_that_leaves_stops_the_generator(client: httpx.AsyncClient, system: System) -> None:
    async with client.stream("GET", "/waits") as answer:
        assert await anext(answer.aiter_lines()) == "1"
        await until("waiting")
    assert await until("ended") < 1
    await idle(system)


@pytest.mark.slow
async def test_one_that_waits_for_its_window_stops_as_well(client: httpx.AsyncClient, system: System) -> None:
    async with client.stream("GET", "/bytes", params={"n": 10_000, "size": 64 * KIB}) as answer:
        assert answer.status_code == 200
        await asyncio.sleep(0.5)
        assert not SEEN["ended"]
    assert await until("ended") < 1
    await idle(system)


@pytest.mark.slow
async def test_a_reader_that_stands_still_holds_the_generator_back_and_is_cut(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/bytes", params={"n": 10_000, "size": 16 * KIB}):
        assert await until("ended", limit_s=10) > 0.5
    assert SEEN["bytes"] < 20_000 * KIB  # which the system's own buffers take, and a window


@pytest.mark.slow
async def test_an_item_larger_than_the_window_goes_alone(client: httpx.AsyncClient) -> None:
    answer = await client.get("/bytes", params={"n": 5, "size": 3 * WINDOW_BYTES})
    assert len(answer.content) == 15 * WINDOW_BYTES
    answer = await client.get("/bytes", params={"n": 2, "size": 1000 * KIB})
    assert len(answer.content) == 2000 * KIB


@pytest.mark.slow
async def test_what_never_waits_lets_others_have_the_loop(client: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as group:
        long = group.create_task(client.get("/count", params={"n": 60_000}))
        await asyncio.sleep(0.05)
        for _ in range(5):
            assert (await client.get("/quick")).json() == 1
        assert not long.done()
    assert numbers(long.result().text) == list(range(60_000))


@pytest.mark.slow
async def test_a_sync_generator_runs_in_its_thread(client: httpx.AsyncClient) -> None:
    for n in (0, 1, 30_000):
        assert numbers((await client.get("/thread", params={"n": n})).text) == list(range(n))


@pytest.mark.slow
async def test_a_sync_generator_stops_at_its_next_yield(client: httpx.AsyncClient, system: System) -> None:
    async with client.stream("GET", "/thread", params={"n": 100, "pause_s": 0.2}) as answer:
        assert await anext(answer.aiter_lines()) == "0"
    assert await until("ended") < 1.5
    assert SEEN["yielded"] < 20
    await idle(system)


@pytest.mark.slow
async def test_a_lost_worker_breaks_its_streams(client: httpx.AsyncClient, system: System) -> None:
    async def die() -> None:
        worker = system.workers.pop()
        system._left.append(worker)
        worker.die()

    assert not (await read(client, "/count", die, n=1000, pause_s=0.1)).whole
    await idle(system)


@pytest.mark.slow
async def test_redis_emptied_breaks_the_streams(client: httpx.AsyncClient, system: System) -> None:
    async def empty() -> None:
        async with Redis.from_url(system.settings.redis) as redis:
            for key in await redis.keys(f"{Keys(system.settings.namespace).prefix}*"):
                await redis.delete(key)

    async with asyncio.timeout(8):
        assert not (await read(client, "/count", empty, n=1000, pause_s=0.05)).whole


@pytest.mark.slow
async def test_lost_connections_lose_no_item(client: httpx.AsyncClient, system: System) -> None:
    async def cut() -> None:
        async with Redis.from_url(system.settings.redis) as redis:
            while True:
                await asyncio.sleep(0.1)
                for connection in await redis.client_list():
                    if connection["cmd"] in ("evalsha", "xread", "xtrim"):
                        await redis.client_kill_filter(_id=connection["id"])

    cutting = asyncio.create_task(cut())
    answer = await client.get("/count", params={"n": 300, "pause_s": 0.005})
    cutting.cancel()
    assert numbers(answer.text) == list(range(300))


@pytest.mark.slow
async def test_many_streams_at_once(client: httpx.AsyncClient, system: System) -> None:
    answers = await asyncio.gather(*(client.get("/count", params={"n": 20, "pause_s": 0.02}) for _ in range(60)))
    assert all(numbers(answer.text) == list(range(20)) for answer in answers)
    await idle(system)


@pytest.mark.slow
async def test_a_leaving_gateway_cuts_what_does_not_end(client: httpx.AsyncClient, system: System) -> None:
    async def leave() -> None:
        assert system.app.engine is not None
        system.app.engine.dispatcher.give_up()

    assert await read(client, "/waits", leave) == ("1\n", False)
    assert await until("ended") < 1


@pytest.mark.slow
async def test_a_leaving_worker_ends_its_streams(client: httpx.AsyncClient, system: System) -> None:
    async with client.stream("GET", "/count", params={"n": 20, "pause_s": 0.05}) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "0"
        system.workers[0].begin_drain()
        assert [int(line) async for line in lines] == list(range(1, 20))


@pytest.mark.slow
async def test_http_1_0_gets_a_reset_instead_of_an_end(client: httpx.AsyncClient) -> None:
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /events?n=2&fails=true HTTP/1.0\r\nHost: x\r\n\r\n")
    is_reset = False
    async with asyncio.timeout(5):
        try:
            while await reader.read(1000):
                pass
        except ConnectionResetError:
            is_reset = True
    assert is_reset
    writer.close()


async def test_head_of_a_streamed_get_is_not_allowed(client: httpx.AsyncClient) -> None:
    assert (await client.head("/count", params={"n": 1})).status_code == 405


@pytest.fixture
def lasting() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(args=("--appendonly", "yes", "--appendfsync", "always")) as running:
        yield running


@pytest.mark.slow
async def test_redis_that_comes_back_with_its_data_loses_no_item(lasting: EmbeddedServer) -> None:
    """The worker keeps what is yielded meanwhile, as far as the window allows, and goes on where it was."""

    async def outage() -> None:
        lasting.kill()
        await asyncio.sleep(0.7)
        lasting.start()

    async with (
        SystemFactory(lasting.url, "streams")(__name__, lease_s=5) as system,
        served(system) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        received = await read(client, "/count", outage, n=60, pause_s=0.05)
        assert received.whole
        assert numbers(received.text) == list(range(60))


@pytest.mark.slow
async def test_those_that_stand_still_take_no_memory_and_no_time_of_the_others(
    client: httpx.AsyncClient, system: System
) -> None:
    still = [await asyncio.open_connection(client.base_url.host, client.base_url.port, limit=1024) for _ in range(20)]
    for _, writer in still:
        writer.write(b"GET /bytes?n=100000&size=16384 HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = await asyncio.gather(*(client.get("/count", params={"n": 40, "pause_s": 0.02}) for _ in range(60)))
    assert all(numbers(answer.text) == list(range(40)) for answer in answers)
    assert await until("ended", 20, limit_s=15) >= 0
    assert SEEN["bytes"] < 20 * 20_000 * KIB
    async with Redis.from_url(system.settings.redis) as redis:
        assert (await redis.info("memory"))["used_memory"] < 60_000 * KIB
    for _, writer in still:
        writer.close()
    await idle(system)

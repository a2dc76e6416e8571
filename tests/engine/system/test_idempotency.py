"""One effect and one answer per `Idempotency-Key`, with real processes that are cut off, killed and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import App, System, system, until, until_async

HANDLERS = "tests.engine.system.keyed_handlers"
GATEWAY = f"{HANDLERS}:build"
STEPS_S = (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6)
"""After its last byte a request's connection is cut; a run takes 0.3 s."""
RUN_S = 0.3

pytestmark = pytest.mark.slow


def with_file() -> EmbeddedServer:
    return EmbeddedServer(args=("--appendonly", "yes", "--appendfsync", "always"))


@pytest.fixture
def running(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[System]:
    """Two gateways and two workers."""
    with system(tmp_path, redis_url, namespace, HANDLERS) as found:
        for _ in range(2):
            found.gateway(factory=GATEWAY)
            found.worker()
        yield found


def gateways(found: System) -> list[App]:
    return [app for app in found.apps if app.log.name.startswith("tests")]


def starts(found: System, tag: str) -> int:
    return found.noted(tag).count("start")


async def ask(client: httpx.AsyncClient, app: App, tag: str, seconds: float = RUN_S, key: str = "") -> httpx.Response:
    url = f"{app.url}/orders?tag={tag}&seconds={seconds}"
    return await client.post(url, headers={"idempotency-key": key or tag}, timeout=15)


async def ask_until(client: httpx.AsyncClient, app: App, tag: str, seconds: float, status: int = 200) -> httpx.Response:
    """Ask again as a client does that was refused, or cut off."""
    limit_s = time.monotonic() + 15
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await ask(client, app, tag, seconds)
            if answer.status_code == status or time.monotonic() > limit_s:
                assert answer.status_code == status, answer.text
                return answer
        await asyncio.sleep(0.1)


async def test_a_hundred_twins_at_once_over_two_gateways_run_once(running: System) -> None:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        both = gateways(running)
        answers = await asyncio.gather(*(ask(client, both[i % 2], "twins") for i in range(100)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '"twins"')}
    assert running.noted("twins") == ["start", "end"]


async def cut_off(app: App, tag: str, after_s: float, *, bytes_sent: int | None = None) -> None:
    """Send a request, or a part of it, and end the connection some time later without reading."""
    port = int(app.url.rpartition(":")[2])
    head = f"POST /orders?tag={tag}&seconds={RUN_S} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {tag}\r\nContent-Length: 0"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write((head + "\r\n\r\n").encode()[:bytes_sent])
    await writer.drain()
    await asyncio.sleep(after_s)
    writer.transport.abort()


async def test_a_connection_cut_at_any_step_and_asked_again_has_one_effect_and_one_answer(running: System) -> None:
    async def one(number: int, after_s: float, bytes_sent: int | None, pause_s: float) -> None:
        tag, both = f"cut{number}", gateways(running)
        for _ in range(2):
            await cut_off(both[number % 2], tag, after_s, bytes_sent=bytes_sent)
        await asyncio.sleep(pause_s)
        first = await ask_until(client, both[(number + 1) % 2], tag, RUN_S)
        second = await ask_until(client, both[number % 2], tag, RUN_S)
        assert first.text == second.text == f'"{tag}"'
        assert second.headers["idempotent-replayed"] == "true"
        assert running.noted(tag) == ["start", "end"]

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        cuts: list[tuple[float, int | None, float]] = [
            (after_s, None, pause_s) for after_s in STEPS_S for pause_s in (0, 0.15)
        ]
        cuts += [(0.01, sent, 0) for sent in (1, 40, 80)]
        await asyncio.gather(*(one(number, *cut) for number, cut in enumerate(cuts)))


async def test_a_killed_worker_is_told_again_and_nothing_runs_twice(running: System) -> None:
    async with httpx.AsyncClient() as client:
        both = gateways(running)
        asked = [asyncio.create_task(ask(client, app, "killed", 6)) for app in both]
        await until_async(lambda: starts(running, "killed") == 1)
        running.by_pid(running.pids("killed")[0]).kill()
        answers = [await task for task in asked]
        assert {(answer.status_code, answer.json()["title"]) for answer in answers} == {(502, "Worker lost")}
        again = await ask(client, both[0], "killed", 6)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (502, "true")
    assert starts(running, "killed") == 1


async def test_a_killed_gateway_leaves_the_answer_to_who_joined_at_another(running: System) -> None:
    async with httpx.AsyncClient() as client:
        first, second = gateways(running)
        lost = asyncio.create_task(ask(client, first, "orphaned", 2))
        await until_async(lambda: starts(running, "orphaned") == 1)
        joined = asyncio.create_task(ask(client, second, "orphaned", 2))
        await asyncio.sleep(0.2)
        first.kill()
        assert (await joined).status_code == 200
        with pytest.raises(httpx.TransportError):
            await lost
        assert (await ask(client, second, "orphaned", 2)).headers["idempotent-replayed"] == "true"
    assert starts(running, "orphaned") == 1


async def test_redis_restarted_with_its_file_in_between_runs_nothing_twice(tmp_path: Path) -> None:
    with with_file() as server, system(tmp_path, server.url, "file", HANDLERS) as found:
        app = found.gateway(factory=GATEWAY)
        found.worker()
        async with httpx.AsyncClient() as client:
            assert (await ask(client, app, "before")).status_code == 200
            during = asyncio.create_task(ask(client, app, "during", 2))
            await until_async(lambda: starts(found, "during") == 1)
            server.kill()
            await asyncio.sleep(0.5)
            server.start()
            await until_async(lambda: app.ready, 10)
            first = await during
            assert first.status_code in (200, 502), first.text
            kept = await ask_until(client, app, "before", RUN_S)
            assert kept.headers["idempotent-replayed"] == "true"
            later = await ask_until(client, app, "during", 2, first.status_code)
            assert later.text.partition("request_id")[0] == first.text.partition("request_id")[0]
        assert (starts(found, "before"), starts(found, "during")) == (1, 1)


async def test_redis_away_while_many_ask_again_and_again_runs_nothing_twice(tmp_path: Path) -> None:
    """Twenty keys, each asked for at both gateways until there is an answer, while the server is killed three times."""
    with with_file() as server, system(tmp_path, server.url, "away", HANDLERS) as found:
        both = [found.gateway(factory=GATEWAY) for _ in range(2)]
        found.worker()
        tags = [f"t{i}" for i in range(20)]

        async def insist(app: App, tag: str) -> str:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await ask(client, app, tag, 0.2)
                    if answer.status_code in (200, 502) and answer.headers.get("idempotent-replayed"):
                        return answer.text.partition("request_id")[0]
                await asyncio.sleep(0.05)

        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
            asked = [asyncio.create_task(insist(app, tag)) for tag in tags for app in both]
            for _ in range(3):
                await asyncio.sleep(0.15)
                server.kill()
                await asyncio.sleep(0.3)
                server.start()
            async with asyncio.timeout(30):
                texts = await asyncio.gather(*asked)
        assert texts[::2] == texts[1::2], "both gateways tell the same"
        assert max(starts(found, tag) for tag in tags) == 1


def test_who_waits_when_it_ends_is_told_by_its_own_gateway(running: System) -> None:
    first, second = gateways(running)
    with httpx.Client(timeout=10) as client:
        url = "/orders?tag=x&seconds=0"
        answers = [client.post(app.url + url, headers={"idempotency-key": "x"}) for app in (first, second, first)]
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    until(lambda: bool(second.said(event="request", outcome="replayed")))

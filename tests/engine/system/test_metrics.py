"""Every metric moves when what it counts happens, on real processes, and nothing is left over."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.scraping import Scrape, scrape
from tests.engine.system.system import App, System, await_ready, served, until, until_async

CONCURRENCY = 2


@pytest.fixture(scope="module")
def edge(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway, and one worker that runs two tasks at once."""
    with served(server, tmp_path_factory, worker_concurrency=CONCURRENCY) as running:
        until(lambda: scrape(running.apps[0].url)("workers") == 1)  # lanes are learnt once a second
        yield running


class Moves:
    """What a block is to move of one app's metrics: called once per metric."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._wanted: list[tuple[float, str, dict[str, str]]] = []

    def __call__(self, name: str, by: float, **labels: str) -> None:
        self._wanted.append((by, name, labels))

    def of(self, metrics: Scrape) -> list[float]:
        return [metrics(name, **labels) for _, name, labels in self._wanted]

    async def __aenter__(self) -> None:
        self._before = self.of(scrape(self._app.url))

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            return
        wanted = [by for by, _, _ in self._wanted]
        limit_s = time.monotonic() + 2  # a handler's end may follow its answer
        while (moved := self._moved()) != wanted and time.monotonic() < limit_s:
            await asyncio.sleep(0.05)
        assert moved == wanted, self._wanted

    def _moved(self) -> list[float]:
        after = self.of(scrape(self._app.url))
        return [now - then for now, then in zip(after, self._before, strict=True)]


def balance(metrics: Scrape) -> float:
    """Return how many requests are neither refused nor ended."""
    return metrics("requests_offered_total") - metrics("requests_refused_total") - metrics("requests_ended_total")


async def leave(gateway: App, path: str, when: Callable[[], bool]) -> None:
    """Ask, and leave without the answer."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until_async(when)
    writer.close()
    await writer.wait_closed()


async def test_an_answer_is_counted_on_both_sides_with_its_times(
    client: httpx.AsyncClient, gateway: App, worker: App
) -> None:
    route = {"method": "GET", "route": "/sleep"}
    gateway_moves = Moves(gateway)
    gateway_moves("requests_offered_total", 1, **route)
    gateway_moves("requests_admitted_total", 1, **route)
    gateway_moves("requests_ended_total", 1, **route, outcome="done")
    gateway_moves("responses_total", 1, **route, status="2xx")
    gateway_moves("wait_seconds_count", 1, **route)
    gateway_moves("run_seconds_count", 1, **route)
    gateway_moves("run_seconds_bucket", 0, **route, le="0.1")
    gateway_moves("run_seconds_bucket", 1, **route, le="1")
    gateway_moves("request_seconds_count", 1, **route, answer="answered")
    gateway_moves("redis_call_seconds_count", 1, call="admit")
    gateway_moves("batch_tasks_sum", 1, call="admit")
    gateway_moves("batch_tasks_sum", 1, call="replies")
    worker_moves = Moves(worker)
    worker_moves("tasks_started_total", 1, **route)
    worker_moves("tasks_ended_total", 1, **route, outcome="done")
    worker_moves("task_run_seconds_count", 1, **route)
    worker_moves("batch_tasks_sum", 1, call="claim")
    worker_moves("batch_tasks_sum", 1, call="complete")
    worker_moves("redis_call_seconds_count", 1, call="complete")
    async with gateway_moves, worker_moves:
        assert (await client.get("/sleep?tag=one&seconds=0.2")).status_code == 200
    assert balance(scrape(gateway.url)) == 0


@pytest.mark.slow
async def test_a_full_route_refuses_by_the_queue_and_from_memory(
    client: httpx.AsyncClient, gateway: App, edge: System
) -> None:
    route = {"method": "GET", "route": "/narrow"}
    # The slower a route is known to be, the longer a refusal is remembered.
    assert (await client.get("/narrow?tag=warm&seconds=0.2")).status_code == 200
    before = scrape(gateway.url)
    held = [asyncio.create_task(client.get("/narrow?tag=held&seconds=1.9")) for _ in range(5)]
    await until_async(lambda: scrape(gateway.url)("waiting", **route) == 5 - CONCURRENCY)
    during = scrape(gateway.url)
    assert (during("running", **route), during("limit", **route)) == (CONCURRENCY, 5)
    assert during("requests_open") == balance(during) == 5
    assert during("concurrency_used", kind="async") == during("concurrency", kind="async") == CONCURRENCY
    assert scrape(edge.apps[1].url)("worker_concurrency_used", kind="async") == CONCURRENCY
    refused = [await client.get("/narrow?tag=refused&seconds=0") for _ in range(20)]
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
    after = scrape(gateway.url)

    def moved(name: str, **labels: str) -> float:
        return after(name, **route, **labels) - before(name, **route, **labels)

    assert moved("requests_refused_total", reason="full") == 20
    assert moved("requests_refused_total", by="queue") >= 1
    assert moved("requests_refused_total", by="memory") >= 1
    assert moved("responses_total", status="5xx") == moved("request_seconds_count", answer="refused") == 20
    assert moved("requests_admitted_total") == moved("requests_ended_total", outcome="done") == 5
    assert balance(after) == 0


async def test_a_late_one_is_late_here_and_expired_there(client: httpx.AsyncClient, gateway: App, worker: App) -> None:
    route = {"route": "/short"}
    gateway_moves = Moves(gateway)
    gateway_moves("requests_ended_total", 1, **route, outcome="deadline_exceeded")
    gateway_moves("request_seconds_count", 1, **route, answer="answered")
    async with gateway_moves:
        answers = scrape(worker.url)
        assert (await client.get("/short?tag=late&seconds=5")).status_code == 504

    def ended() -> float:  # whichever is first: the handler's own deadline, or the gateway's word that nobody waits
        now = scrape(worker.url)
        return sum(
            now("tasks_ended_total", **route, outcome=outcome) - answers("tasks_ended_total", **route, outcome=outcome)
            for outcome in ("expired", "stopped")
        )

    await until_async(lambda: ended() == 1)


async def test_a_failure_is_counted_on_both_sides(client: httpx.AsyncClient, gateway: App, worker: App) -> None:
    route = {"route": "/ends/async/{how}"}
    gateway_moves = Moves(gateway)
    gateway_moves("requests_ended_total", 1, **route, outcome="failed")
    gateway_moves("responses_total", 1, **route, status="5xx")
    worker_moves = Moves(worker)
    worker_moves("tasks_ended_total", 1, **route, outcome="failed")
    async with gateway_moves, worker_moves:
        assert (await client.get("/ends/async/exception")).status_code == 500


async def test_a_client_that_leaves_is_counted_and_its_handler_is_stopped(
    gateway: App, worker: App, edge: System
) -> None:
    gateway_moves = Moves(gateway)
    gateway_moves("requests_ended_total", 1, route="/sleep", outcome="client_left")
    gateway_moves("request_seconds_count", 0, route="/sleep")
    gateway_moves("redis_call_seconds_count", 1, call="cancel")
    worker_moves = Moves(worker)
    worker_moves("tasks_ended_total", 1, route="/sleep", outcome="stopped")
    async with gateway_moves, worker_moves:
        await leave(gateway, "/sleep?tag=gone&seconds=5", lambda: edge.noted("gone") == ["start"])


async def test_what_never_came_to_the_queue_and_what_is_not_queued_are_apart(
    client: httpx.AsyncClient, gateway: App
) -> None:
    gateway_moves = Moves(gateway)
    gateway_moves("requests_ended_total", 1, route="/sleep", outcome="rejected")
    gateway_moves("responses_total", 1, route="/sleep", status="4xx")
    gateway_moves("requests_admitted_total", 0)
    gateway_moves("responses_total", 2, route="(other)")
    gateway_moves("responses_total", 1, route="(other)", status="4xx")
    async with gateway_moves:
        assert (await client.get("/sleep?tag=x&seconds=none")).status_code == 422
        assert (await client.get("/nowhere/" + "x" * 100)).status_code == 404
        assert (await client.get("/plain")).status_code == 200
    assert all("nowhere" not in str(sample) for sample in scrape(gateway.url).samples)


async def test_a_blocked_loop_and_processor_time_are_seen(gateway: App, worker: App) -> None:
    before = [scrape(app.url) for app in (gateway, worker)]
    for app in (gateway, worker):
        app.signal(signal.SIGSTOP)  # whatever blocks a loop looks like this from outside
    await asyncio.sleep(0.7)
    for app in (gateway, worker):
        app.signal(signal.SIGCONT)
    await asyncio.sleep(0.3)
    for app, then in zip((gateway, worker), before, strict=True):
        now = scrape(app.url)
        assert now("loop_lag_seconds_sum") - then("loop_lag_seconds_sum") > 0.4
        assert now("cpu_seconds_total") > then("cpu_seconds_total")
        assert now("processes") == now("processes_ready") == 1


async def test_lost_tasks_no_worker_and_no_redis(own: System, redis_url: str) -> None:
    gateway, dying = own.gateway(wait=False), own.worker()
    await_ready(gateway)
    until(lambda: scrape(gateway.url)("workers") == 1)
    metrics = scrape(gateway.url)
    assert (metrics("redis_up"), metrics("requests_ended_total")) == (1, 0)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        asked = asyncio.create_task(client.post("/sleep?tag=lost&seconds=5"))
        await until_async(lambda: own.noted("lost") == ["start"])
        dying.kill()
        assert (await asked).status_code == 502
        metrics = scrape(gateway.url)
        assert metrics("requests_ended_total", method="POST", outcome="lost") == 1
        assert metrics("reaped_total", what="lease") == 1
        await until_async(lambda: scrape(gateway.url)("workers") == 0)
        assert (await client.get("/ok")).status_code == 503
        assert scrape(gateway.url)("requests_refused_total", reason="no_worker") == 1


async def test_without_redis_all_else_is_still_shown(own: System, namespace: str) -> None:
    with EmbeddedServer() as server:
        gateway = own.gateway(REDIS_URL=server.url)
        await until_async(lambda: scrape(gateway.url)("limit", route="/ok") == 10)
        connects = scrape(gateway.url)("redis_connects_total")
        server.kill()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
            assert (await client.get("/ok")).status_code == 503
        began_s = time.monotonic()
        metrics = scrape(gateway.url)
        assert time.monotonic() - began_s < 2
        assert metrics("redis_up") == metrics("processes_ready") == metrics("limit") == 0
        assert metrics("requests_refused_total", reason="unavailable") == 1
        assert metrics("redis_call_failures_total") > 0
        server.start()
        until(lambda: gateway.ready)
        until(lambda: scrape(gateway.url)("redis_up") == 1)
        assert scrape(gateway.url)("redis_connects_total") > connects

"""The benchmark: its short run, and that it counts what it says it counts."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.concurrent_clients import concurrent_clients
from benchmarks.redis_server import Server
from benchmarks.statistics import Metric, missed, table
from benchmarks.testbed import ACCESS_LOG, BARE, App, app
from benchmarks.wrk import WrkFailed, load
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import run_module

LIMIT_S = 150
SCRIPT = "for i = 1, 50 do redis.call('INCR', KEYS[1]) end"


def bench(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_module("benchmarks.bench", *arguments, limit_s=LIMIT_S, **env)


@pytest.mark.wrk
@pytest.mark.timeout(LIMIT_S)
def test_the_short_run_meets_every_goal_that_is_a_count(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"

    ran = bench("--short", "--json", str(kept))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    metrics = {metric["name"]: metric["measured"] for metric in json.loads(kept.read_text())["metrics"]}
    assert 0 < metrics["commands to Redis per request at 64"] <= 1
    assert 3 <= metrics["one at a time: scripts per request"] < 4
    assert {
        "gateway µs at 64 / bare+log",
        "gateway µs at 64, plain route / bare+log",
        "gateway µs at 64, two query parameters / bare+log",
        "gateway µs at 64, POST with a model / bare+log",
    } <= set(metrics)
    assert metrics["answers other than 200, socket errors"] == 0
    assert metrics["requests without an answer"] == 0


def test_without_wrk_it_ends_with_2_and_names_the_package(tmp_path: Path) -> None:
    ran = bench("--short", PATH=str(tmp_path))

    assert (ran.returncode, "apt install wrk" in ran.stderr) == (2, True)


@pytest.fixture(scope="module")
def bare() -> Iterator[App]:
    """A FastAPI application without a queue."""
    with app("gateway", {}, target=BARE) as running:
        yield running


@pytest.fixture(scope="module")
def logged() -> Iterator[App]:
    """The same with uvicorn's access log: the reference."""
    with app("gateway", ACCESS_LOG, target=BARE) as running:
        yield running


class TestTheReference:
    def test_writes_one_line_per_request_into_its_log(self, logged: App) -> None:
        ask(logged, 7)

        assert logged.said().count('"GET /direct HTTP/1.1" 200') == 7

    def test_writes_none_where_that_is_not_asked_for(self, bare: App) -> None:
        ask(bare, 7)

        assert "GET /direct" not in bare.said()


class TestAnApp:
    def test_processor_time_of_few_requests_is_seen(self, bare: App) -> None:
        before_s = bare.cpu_s()

        ask(bare, 1)

        assert 0 < bare.cpu_s() - before_s < 0.1

    @pytest.mark.wrk
    def test_processor_time_is_what_the_kernel_says_of_the_process(self, bare: App) -> None:
        before_s, before = bare.cpu_s(), bare.serving[0].cpu_times()

        load(bare.port, ["/direct"], 8, 1)

        after = bare.serving[0].cpu_times()
        assert bare.cpu_s() - before_s == pytest.approx(
            after.user + after.system - before.user - before.system, abs=0.1
        )

    def test_a_read_and_a_write_of_every_request_are_counted(self, bare: App) -> None:
        before = bare.reads_and_writes()

        ask(bare, 50)

        assert 100 <= bare.reads_and_writes() - before < 300

    def test_calls_of_functions_are_counted_from_the_first_reading(self) -> None:
        with app("gateway", {}, target=BARE) as fresh:  # the profiler stays
            first = int(ask(fresh, 1, "/calls"))
            ask(fresh, 10)
            ten = int(ask(fresh, 1, "/calls"))
            ask(fresh, 30)
            thirty = int(ask(fresh, 1, "/calls")) - ten

        assert first == 0
        assert 2 * ten < thirty < 4 * ten


def ask(served: App, times: int, path: str = "/direct") -> bytes:
    """Ask so often, over one connection, and return the last body."""
    body = b""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        for _ in range(times):
            connection.request("GET", path)
            body = connection.getresponse().read()
    return body


class TestWhatClientsSend:
    @pytest.fixture
    def client(self) -> Iterator[Redis]:
        """A client of a server that nobody else uses."""
        with EmbeddedServer() as own, contextlib.closing(Redis.from_url(own.url, protocol=2)) as opened:
            yield opened

    @pytest.fixture
    def server(self, client: Redis) -> Iterator[Server]:
        port = client.connection_pool.connection_kwargs["port"]
        with contextlib.closing(Server(f"redis://127.0.0.1:{port}")) as server:
            yield server

    def test_is_counted_and_what_their_scripts_call_is_not(self, client: Redis, server: Server) -> None:
        learn_while_they_send(client, server)
        before = server.sent()

        for _ in range(100):
            client.eval(SCRIPT, 1, "a")
        for _ in range(7):
            client.get("a")

        assert server.sent() - before == 107

    def test_is_not_what_the_benchmark_asks_itself(self, client: Redis, server: Server) -> None:
        learn_while_they_send(client, server)

        before = [server.sent() for _ in range(5)]

        assert len(set(before)) == 1


def learn_while_they_send(client: Redis, server: Server) -> None:
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.01):
            client.eval(SCRIPT, 1, "a")
            client.get("a")

    sender = threading.Thread(target=send)
    sender.start()
    try:
        server.learn(0.3)
    finally:
        ended.set()
        sender.join()


class TestFailures:
    @pytest.mark.wrk
    def test_an_answer_that_is_an_error_is_counted_by_wrk(self, bare: App) -> None:
        ran = load(bare.port, ["/nothing"], 2, 1)

        assert ran.errors == ran.requests > 0

    @pytest.mark.wrk
    def test_a_model_is_posted(self, bare: App) -> None:
        ran = load(bare.port, ["/direct-model"], 2, 1, json_body='{"n": 7, "name": "tea"}')

        assert (ran.errors, ran.requests > 0) == (0, True)

    @pytest.mark.wrk
    def test_paths_are_asked_in_turn(self, bare: App) -> None:
        ran = load(bare.port, ["/nothing", "/direct"], 1, 1)

        assert abs(ran.status - ran.requests / 2) <= 1

    @pytest.mark.wrk
    def test_a_port_where_nobody_listens_is_no_measurement(self) -> None:
        with pytest.raises(WrkFailed):
            load(1, ["/"], 1, 1)

    def test_an_answer_that_is_an_error_is_counted_by_concurrent_clients(self, bare: App) -> None:
        with concurrent_clients(bare.port, "/nothing", 20, repeat=False) as clients:
            clients.all_sent()
            end = clients.stop()

        assert (end.sent, end.answered, end.failed, end.unanswered) == (20, 0, 20, 0)

    def test_concurrent_clients_that_are_answered_miss_nobody(self, bare: App) -> None:
        with concurrent_clients(bare.port, "/direct", 20, repeat=True) as clients:
            clients.all_sent()
            end = clients.stop()

        assert (end.sent >= 20, end.failed, end.unanswered) == (True, 0, 0)


class TestTheTable:
    metrics = (
        Metric("slow", (1.0, 3.0, 9.0), at_most=2, unit=" ms"),
        Metric("few", (5.0,), at_least=1, is_count=True),
        Metric("told", (4.0,)),
    )

    def test_shows_the_median_the_goal_the_result_and_every_round(self) -> None:
        assert table(self.metrics, only_counts=False, met_by=0).splitlines()[2:] == [
            "| slow   | 3 ms     | ≤ 2 ms | FAIL   | 1 3 9  |",
            "| few    | 5        | ≥ 1    | pass   |        |",
            "| told   | 4        |        |        |        |",
        ]

    def test_only_a_metric_with_a_goal_can_be_missed(self) -> None:
        assert [metric.name for metric in missed(self.metrics, only_counts=False, met_by=0)] == ["slow"]

    def test_a_metric_that_depends_on_the_machine_is_not_judged_where_only_counts_are(self) -> None:
        assert missed(self.metrics, only_counts=True) == []
        assert "FAIL" not in table(self.metrics, only_counts=True)

"""The benchmark: its short run, and that it counts what it says it counts."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from deploy.embedded import EmbeddedServer
from loadtest.bench_apps import BARE, App, app
from loadtest.bench_crowd import crowd
from loadtest.bench_figures import Figure, missed, table
from loadtest.bench_server import Server
from loadtest.bench_wrk import WrkFailed, load

ROOT = Path(__file__).parents[2]
LIMIT_S = 150
SCRIPT = "for i = 1, 50 do redis.call('INCR', KEYS[1]) end"


def bench(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest.bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.wrk
@pytest.mark.timeout(LIMIT_S)
def test_the_short_run_meets_every_goal_that_is_a_count(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"

    ran = bench("--short", "--json", str(kept))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = {figure["name"]: figure["measured"] for figure in json.loads(kept.read_text())["figures"]}
    assert 0 < figures["commands to Redis per request at 64"] <= 1
    assert figures["answers other than 200, socket errors"] == 0
    assert figures["requests without an answer"] == 0


def test_without_wrk_it_ends_with_2_and_names_the_package(tmp_path: Path) -> None:
    ran = bench("--short", PATH=str(tmp_path))

    assert (ran.returncode, "apt install wrk" in ran.stderr) == (2, True)


@pytest.fixture(scope="module")
def bare() -> Iterator[App]:
    """A FastAPI application without a queue."""
    with app("gateway", BARE, {}) as running:
        yield running


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
    def test_paths_are_asked_in_turn(self, bare: App) -> None:
        ran = load(bare.port, ["/nothing", "/direct"], 1, 1)

        assert abs(ran.status - ran.requests / 2) <= 1

    @pytest.mark.wrk
    def test_a_port_where_nobody_listens_is_no_measurement(self) -> None:
        with pytest.raises(WrkFailed):
            load(1, ["/"], 1, 1)

    def test_an_answer_that_is_an_error_is_counted_by_a_crowd(self, bare: App) -> None:
        with crowd(bare.port, "/nothing", 20, repeat=False) as people:
            people.all_sent()
            end = people.stop()

        assert (end.sent, end.answered, end.failed, end.unanswered) == (20, 0, 20, 0)

    def test_a_crowd_that_is_answered_misses_nobody(self, bare: App) -> None:
        with crowd(bare.port, "/direct", 20, repeat=True) as people:
            people.all_sent()
            end = people.stop()

        assert (end.sent >= 20, end.failed, end.unanswered) == (True, 0, 0)


class TestTheTable:
    figures = (
        Figure("slow", (1.0, 3.0, 9.0), at_most=2, unit=" ms"),
        Figure("few", (5.0,), at_least=1, is_count=True),
        Figure("told", (4.0,)),
    )

    def test_shows_the_median_the_goal_the_verdict_and_every_round(self) -> None:
        assert table(self.figures, only_counts=False).splitlines()[2:] == [
            "| slow   | 3 ms     | ≤ 2 ms | FAIL    | 1 3 9  |",
            "| few    | 5        | ≥ 1    | pass    |        |",
            "| told   | 4        |        |         |        |",
        ]

    def test_only_a_figure_with_a_goal_can_be_missed(self) -> None:
        assert [figure.name for figure in missed(self.figures, only_counts=False)] == ["slow"]

    def test_a_figure_that_depends_on_the_machine_is_not_judged_where_only_counts_are(self) -> None:
        assert missed(self.figures, only_counts=True) == []
        assert "FAIL" not in table(self.figures, only_counts=True)

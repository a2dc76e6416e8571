"""What the door says of a refusal and of a wait; garbage in its statistics; detached tasks at it. Ten places."""

from __future__ import annotations

import math

import pytest

from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import LANE, POOL, ROUTE, START_MS, Queue, lease, task_id
from tests.engine.scripts.test_estimated_wait import loaded, wide

LATE, FULL = AdmitCode.LATE, AdmitCode.FULL


# What a refusal says


def test_a_deadline_that_has_passed_is_late_and_says_nothing_of_others(queue: Queue) -> None:
    result = loaded(queue).admit("2", left_ms=0).results[0]
    assert (result.code, result.remember_ms) == (LATE, 0)


def test_a_refusal_holds_for_a_fifth_of_the_queue(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    queue.admitted(32)
    assert queue.admit("no").results[0].remember_ms == 250
    queue.measured(completed=5000)
    queue.client.hset(queue.keys.statistics(ROUTE), "override", 3)
    assert queue.admit("no").results[0].remember_ms == 33 / (5 * 0.5) // 1


def test_a_refusal_without_a_queue_holds_for_no_time(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    queue.take_marker()
    queue.claim()
    result = queue.admit("4").results[0]
    assert (result.code, result.remember_ms) == (FULL, 0)


def test_retry_after_grows_with_the_queue_and_with_those_refused_before(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    queue.admitted(32)
    results = queue.admit("a", "b", suppressed={ROUTE: 10}).results
    assert [v.retry_after_ms for v in results] == [(34 + 2 * 11) / 0.01, (34 + 2 * 12) / 0.01]


def test_those_refused_are_forgotten_over_ten_seconds(queue: Queue) -> None:
    loaded(queue, refused=100, refused_at=START_MS)
    queue.advance(10_000)
    queue.register()
    queue.admit("no", left_ms=0)
    assert queue.statistics()["refused"] == pytest.approx(100 / math.e + 1, rel=1e-4)
    assert queue.statistics()["refused_at"] == START_MS + 10_000


def test_what_the_gateway_refused_from_memory_counts_once_for_its_route(queue: Queue) -> None:
    wide(queue)
    asked = [queue.request(str(i), budget_ms=9000 + i) for i in range(3)]
    queue.ask(*asked, suppressed={ROUTE: 7})
    assert queue.statistics()["refused"] == 7


def test_retry_after_is_a_minute_at_most(queue: Queue) -> None:
    loaded(queue, completed=0, busy_ms=100_000)
    result = queue.admit("no").results[0]
    assert (result.code, result.retry_after_ms, result.remember_ms) == (LATE, 60_000, 250)


def test_the_predicted_wait_is_the_place_over_the_pace(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    assert [v.wait_ms for v in queue.admit("2", "3").results] == [200, 300]
    queue.take_marker()
    assert queue.admit("4").results[0].wait_ms == 0


# Garbage and times that cannot be


@pytest.mark.leaves_garbage
def test_garbage_in_any_figure_is_as_if_it_were_absent(queue: Queue) -> None:
    fields = [
        "mean_ms", "samples", "completed", "busy_ms", "measured_at", "last_completion_at", "queued_since", "refused",
        "refused_at", "override", "max_running",
    ]  # fmt: skip
    for serial, garbage in enumerate(("nan", "inf", "-inf", "-5", "1e300", "x", "")):
        wide(queue).client.hset(queue.keys.statistics(ROUTE), mapping=dict.fromkeys(fields, garbage))
        reply = queue.admit(*(str(i) for i in range(30)))
        assert [int(v.code) for v in reply.results] == [0] * 20 + [LATE] * 10, garbage
        assert all(0 <= v.wait_ms <= 10_000 and 0 <= v.retry_after_ms <= 60_000 for v in reply.results), garbage
        queue.take_marker()
        queue.claim(serial)
        assert queue.complete(lease("0", serial), run_ms=70) == [True]
        assert queue.client.hget(queue.keys.statistics(ROUTE), "mean_ms") == b"70", garbage
        queue.complete(*(lease(str(i), serial) for i in range(1, 10)))
        queue.cancel(*(task_id(str(i)) for i in range(10, 20)))
        queue.take_marker()


@pytest.mark.leaves_garbage
def test_garbage_in_the_places_is_no_place(queue: Queue) -> None:
    queue.client.hset(queue.keys.of("concurrency"), mapping={LANE: "nan", f"{LANE}|": "no group"})
    assert wide(queue).admitted(5) == 1


def test_a_mark_ahead_of_the_clock_is_no_stall(queue: Queue) -> None:
    loaded(queue, last_completion_at=START_MS + 60_000, completed=100, busy_ms=10_000)
    assert queue.admitted(60) == 33 - 1


# Which tasks nobody waits for


def test_the_figures_of_detached_tasks_are_their_own(queue: Queue) -> None:
    wide(queue).measured(mean_ms=20_000, samples=20, later_mean_ms=100, later_samples=20)
    queue.admitted(10)
    assert queue.admitted(1, first=20) == 0
    assert queue.admitted(1, first=30, async_response=True) == 1


def test_detached_tasks_share_the_limit_and_the_queue(queue: Queue) -> None:
    loaded(
        queue,
        completed=100,
        busy_ms=10_000,
        later_mean_ms=100,
        later_samples=20,
        later_completed=100,
        later_busy_ms=10_000,
    )
    assert queue.admitted(10, async_response=True) == 10
    assert queue.admitted(60, first=20) == 33 - 11
    queue.client.hset(queue.keys.statistics(ROUTE), "override", 33)
    assert queue.codes("no", async_response=True) == [FULL]


def test_a_queue_that_was_empty_is_so_for_both_sorts(queue: Queue) -> None:
    loaded(queue, last_completion_at=START_MS, later_last_completion_at=START_MS)
    queue.cancel(task_id("first"))
    queue.advance(2000)
    queue.admit("2", async_response=True)
    statistics = queue.statistics()
    assert "last_completion_at" not in statistics
    assert statistics["queued_since"] == statistics["~last_completion_at"] == START_MS + 2000


def test_two_lanes_of_a_route_share_its_queue_and_have_their_own_places(queue: Queue) -> None:
    lane = f"{POOL}:5"
    queue.register("w2.a.3", lanes=[lane])
    wide(queue).measured(mean_ms=20_000, samples=20)
    assert queue.admitted(20, lane=lane) == 3
    assert queue.admitted(20, first=20) == 7

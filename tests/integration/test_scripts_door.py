"""The rule of admission, line by line: how many more may wait, and what a refusal says.

Ten places; where nothing else is said, a budget of 10 s.
"""

from __future__ import annotations

import math

import pytest

from shared.queue.lifecycle import AdmitCode
from tests.queueing import LANE, POOL, ROUTE, START_MS, Queue, lease, task_id

LATE, FULL = AdmitCode.LATE, AdmitCode.FULL
OTHER = "ba9876543210"


def wide(queue: Queue, max_running: int = 0) -> Queue:
    """Leave it to the rule."""
    queue.declare(1000, started_ms=START_MS, max_running=max_running)
    return queue


def loaded(queue: Queue, **figures: float) -> Queue:
    """Let one task wait with its baton untaken: no place is free. A mean of 100 ms, and what is given."""
    wide(queue).admit("first")
    queue.figure(mean=100, seen=20, **figures)
    return queue


# How many may wait


def test_without_a_sample_one_task_more_than_there_are_places_may_wait_per_place(queue: Queue) -> None:
    assert wide(queue).admitted(30) == 10 + 10  # mean = D/4: allowed 2.5 s at 10 places per 2.5 s


def test_free_places_are_given_whatever_the_rule_says(queue: Queue) -> None:
    wide(queue).figure(mean=20_000, seen=20)
    assert queue.admitted(30) == 10


def test_what_finds_nobody_in_the_system_is_admitted(queue: Queue) -> None:
    wide(queue).figure(mean=20_000, seen=20)
    queue.client.rpush(queue.keys.wake(LANE), "1")  # another route's work lies there
    assert queue.admitted(30) == 1


def test_an_untaken_baton_means_that_no_place_is_free(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    assert queue.admitted(60) == 33 - 1  # allowed 3.3 s at 0.01 per ms, one waits already
    queue.take_baton()
    assert queue.admitted(30, first=60) == 10


def test_running_tasks_use_up_the_free_places(queue: Queue) -> None:
    wide(queue).figure(mean=20_000, seen=20)
    queue.admitted(7)
    queue.take_baton()
    queue.claim()
    assert queue.admitted(10, first=10) == 3


def test_as_many_as_may_run_bound_the_places(queue: Queue) -> None:
    wide(queue, max_running=2).figure(mean=100, seen=20, done=100, busy=10_000)
    assert queue.admitted(60) == 2 + 33


def test_a_route_that_runs_as_many_as_may_has_no_place_free(queue: Queue) -> None:
    wide(queue, max_running=2).figure(mean=100, seen=20, done=100, busy=10_000)
    queue.admit("a", "b")
    queue.take_baton()
    queue.claim()
    assert queue.baton() == 0
    assert queue.admitted(60) == 33


def test_the_places_of_a_lane_that_left_do_not_count(queue: Queue) -> None:
    queue.register("w2.a.3")
    wide(queue).figure(mean=20_000, seen=20)
    queue.leave("w2.a.3")
    assert queue.admitted(30) == 10


# The pace


def test_before_any_backlog_the_pace_is_places_per_mean(queue: Queue) -> None:
    verdicts = loaded(queue).admit("2").verdicts
    assert verdicts[0].wait_ms == 2 / (10 / 100)


def test_what_was_expected_fades_as_backlog_is_seen(queue: Queue) -> None:
    loaded(queue, done=0, busy=1000)
    assert queue.admitted(60) == int(3300 * (0.5 * 10) / (1000 + 0.5 * 100)) - 1


def test_it_fades_over_two_seconds_or_four_run_times(queue: Queue) -> None:
    loaded(queue, done=20, busy=2000)
    queue.figure(mean=1000)
    assert queue.admitted(60) == int(3000 * (20 + 0.5 * 10) / (2000 + 0.5 * 1000)) - 1


def test_while_nothing_moves_the_pace_falls(queue: Queue) -> None:
    loaded(queue).figure(mark=START_MS)
    queue.advance(5000)
    queue.register()
    assert queue.admitted(60) == int(3300 * 10 / 5000) - 1


def test_a_long_stall_closes_the_door(queue: Queue) -> None:
    loaded(queue, mark=START_MS - 40_000)
    assert queue.admitted(5) == 0


def test_a_completion_opens_the_door_again(queue: Queue) -> None:
    loaded(queue)
    queue.admitted(60)
    queue.claim(room=10)
    queue.advance(3000)
    queue.register()
    assert queue.codes("later") == [LATE]
    queue.take_baton()  # the places are free again, but many wait
    queue.complete(lease("first"))
    assert queue.codes("later") == [0]


def test_a_stall_without_saturation_is_none(queue: Queue) -> None:
    loaded(queue, mark=START_MS, done=100, busy=10_000)
    queue.advance(5000)
    queue.register()
    queue.take_baton()
    assert queue.admitted(90) == 10 + 33 - 1


# The bound


def test_a_third_of_the_slack_may_be_waited(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    assert queue.admitted(60, budget_ms=1000) == int((1000 - 100) / 3 * 0.01) - 1


@pytest.mark.parametrize(("queued_ms", "allowed"), [(10_000, 33), (20_000, 16), (40_000, 8), (600_000, 2)])
def test_after_a_whole_budget_the_bound_falls_as_one_over_t_to_two_run_times(
    queue: Queue, queued_ms: int, allowed: int
) -> None:
    loaded(queue, done=100, busy=10_000, since=START_MS - queued_ms)
    assert queue.admitted(60) == allowed - 1


def test_the_bound_has_fallen_to_half_after_twice_the_budget(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000, since=START_MS - 20_000)
    assert queue.admitted(60) == 16 - 1


def test_the_bound_never_falls_below_two_run_times(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000, since=START_MS - 600_000)
    assert queue.admitted(60) == 2 - 1


def test_an_admission_that_finds_the_queue_empty_begins_the_time(queue: Queue) -> None:
    wide(queue).admit("1")
    queue.advance(500)
    queue.admit("2")
    assert queue.figures()["since"] == START_MS
    queue.take_baton()
    queue.claim()
    queue.advance(500)
    queue.admit("3")
    assert queue.figures()["since"] == START_MS + 1000


def test_a_clock_that_stepped_back_begins_the_time_anew(queue: Queue) -> None:
    loaded(queue)
    queue.advance(-60_000)
    queue.register()
    queue.admit("2")
    assert queue.figures()["since"] == START_MS - 60_000


def test_less_time_is_refused_sooner(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    asked = [queue.request(str(i), budget_ms=(10_000, 1000)[i % 2]) for i in range(20)]
    codes = [int(verdict.code) for verdict in queue.ask(*asked).verdicts]
    assert codes[::2] == [0] * 10
    assert codes[1::2] == [0] + [LATE] * 9


def test_a_batch_counts_what_it_admits_over_all_kinds_of_a_route(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    asked = [queue.request(str(i), budget_ms=10_000 + i % 3) for i in range(60)]
    assert [int(verdict.code) for verdict in queue.ask(*asked).verdicts].count(0) == 33 - 1


def test_routes_of_a_batch_have_their_own_counts(queue: Queue) -> None:
    queue.declare(1000, route=OTHER)
    wide(queue)
    asked = [queue.request(str(i), route=(ROUTE, OTHER)[i % 2]) for i in range(80)]
    codes = [int(verdict.code) for verdict in queue.ask(*asked).verdicts]
    assert (codes[::2].count(0), codes[1::2].count(0)) == (20, 20)


# What a refusal says


def test_a_deadline_that_has_passed_is_late_and_says_nothing_of_others(queue: Queue) -> None:
    verdict = loaded(queue).admit("2", left_ms=0).verdicts[0]
    assert (verdict.code, verdict.remember_ms) == (LATE, 0)


def test_a_refusal_holds_for_a_fifth_of_the_queue(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    queue.admitted(32)
    assert queue.admit("no").verdicts[0].remember_ms == 250
    queue.figure(done=5000)
    queue.client.hset(queue.keys.figures(ROUTE), "override", 3)
    assert queue.admit("no").verdicts[0].remember_ms == 33 / (5 * 0.5) // 1


def test_a_refusal_without_a_queue_holds_for_no_time(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    queue.take_baton()
    queue.claim()
    verdict = queue.admit("4").verdicts[0]
    assert (verdict.code, verdict.remember_ms) == (FULL, 0)


def test_retry_after_grows_with_the_queue_and_with_those_refused_before(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    queue.admitted(32)
    verdicts = queue.admit("a", "b", missed={ROUTE: 10}).verdicts
    assert [v.retry_after_ms for v in verdicts] == [(34 + 2 * 11) / 0.01, (34 + 2 * 12) / 0.01]


def test_those_refused_are_forgotten_over_ten_seconds(queue: Queue) -> None:
    loaded(queue, missed=100, missed_at=START_MS)
    queue.advance(10_000)
    queue.register()
    queue.admit("no", left_ms=0)
    assert queue.figures()["missed"] == pytest.approx(100 / math.e + 1, rel=1e-4)
    assert queue.figures()["missed_at"] == START_MS + 10_000


def test_what_the_gateway_refused_from_memory_counts_once_for_its_route(queue: Queue) -> None:
    wide(queue)
    asked = [queue.request(str(i), budget_ms=9000 + i) for i in range(3)]
    queue.ask(*asked, missed={ROUTE: 7})
    assert queue.figures()["missed"] == 7


def test_retry_after_is_a_minute_at_most(queue: Queue) -> None:
    loaded(queue, done=0, busy=100_000)
    verdict = queue.admit("no").verdicts[0]
    assert (verdict.code, verdict.retry_after_ms, verdict.remember_ms) == (LATE, 60_000, 250)


def test_the_predicted_wait_is_the_place_over_the_pace(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000)
    assert [v.wait_ms for v in queue.admit("2", "3").verdicts] == [200, 300]
    queue.take_baton()
    assert queue.admit("4").verdicts[0].wait_ms == 0


# Garbage and times that cannot be


@pytest.mark.leaves_garbage
@pytest.mark.parametrize("garbage", ["nan", "inf", "-inf", "-5", "1e300", "x", ""])
def test_garbage_in_any_figure_is_as_if_it_were_absent(queue: Queue, garbage: str) -> None:
    fields = ("mean", "seen", "done", "busy", "mark", "since", "missed", "missed_at", "override", "max_running")
    wide(queue).client.hset(queue.keys.figures(ROUTE), mapping=dict.fromkeys(fields, garbage))
    reply = queue.admit(*(str(i) for i in range(30)))
    assert [int(v.code) for v in reply.verdicts] == [0] * 20 + [LATE] * 10
    assert all(0 <= v.wait_ms <= 10_000 and 0 <= v.retry_after_ms <= 60_000 for v in reply.verdicts)
    queue.claim()
    assert queue.complete(lease("0"), run_ms=70) == [True]
    assert queue.client.hget(queue.keys.figures(ROUTE), "mean") == b"70"


@pytest.mark.leaves_garbage
def test_garbage_in_the_places_is_no_place(queue: Queue) -> None:
    queue.client.hset(queue.keys.places(), LANE, "nan")
    assert wide(queue).admitted(5) == 1


def test_a_mark_ahead_of_the_clock_is_no_stall(queue: Queue) -> None:
    loaded(queue, mark=START_MS + 60_000, done=100, busy=10_000)
    assert queue.admitted(60) == 33 - 1


# Which tasks nobody waits for


def test_the_figures_of_detached_tasks_are_their_own(queue: Queue) -> None:
    wide(queue).figure(mean=20_000, seen=20, later_mean=100, later_seen=20)
    queue.admitted(10)
    assert queue.admitted(1, first=20) == 0
    assert queue.admitted(1, first=30, detached=True) == 1


def test_detached_tasks_share_the_limit_and_the_queue(queue: Queue) -> None:
    loaded(queue, done=100, busy=10_000, later_mean=100, later_seen=20, later_done=100, later_busy=10_000)
    assert queue.admitted(10, detached=True) == 10
    assert queue.admitted(60, first=20) == 33 - 11
    queue.client.hset(queue.keys.figures(ROUTE), "override", 33)
    assert queue.codes("no", detached=True) == [FULL]


def test_a_queue_that_was_empty_is_so_for_both_sorts(queue: Queue) -> None:
    loaded(queue, mark=START_MS, later_mark=START_MS)
    queue.cancel(task_id("first"))
    queue.advance(2000)
    queue.admit("2", detached=True)
    figures = queue.figures()
    assert "mark" not in figures
    assert figures["since"] == figures["~mark"] == START_MS + 2000


def test_two_lanes_of_a_route_share_its_queue_and_have_their_own_places(queue: Queue) -> None:
    lane = f"{POOL}:5"
    queue.register("w2.a.3", lanes=[lane])
    wide(queue).figure(mean=20_000, seen=20)
    assert queue.admitted(20, lane=lane) == 3
    assert queue.admitted(20, first=20) == 7

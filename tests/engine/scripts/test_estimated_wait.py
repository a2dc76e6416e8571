"""The rule of admission, line by line: how many more may wait, and what a refusal says.

Ten places; where nothing else is said, a budget of 10 s.
"""

from __future__ import annotations

import math

import pytest

from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import LANE, ROUTE, START_MS, Queue, lease, task_id

LATE, FULL = AdmitCode.LATE, AdmitCode.FULL
OTHER = "ba9876543210"


def wide(queue: Queue, max_running: int = 0) -> Queue:
    """Leave it to the rule."""
    queue.declare(1000, started_ms=START_MS, max_running=max_running)
    return queue


def loaded(queue: Queue, **statistics: float) -> Queue:
    """Let one task wait with its marker untaken: no place is free. A mean of 100 ms, and what is given."""
    wide(queue).admit("first")
    queue.measured(mean_ms=100, samples=20, **statistics)
    return queue


# How many may wait


def test_without_a_sample_one_task_more_than_there_are_places_may_wait_per_place(queue: Queue) -> None:
    assert wide(queue).admitted(30) == 10 + 10  # mean = D/4: allowed 2.5 s at 10 places per 2.5 s


def test_what_fits_exactly_is_not_refused_by_rounding(queue: Queue) -> None:
    queue.leave()
    wide(queue).register("w9.a.1")
    assert queue.admitted(5, budget_ms=5_500) == 1 + 1  # in binary, 1375 times 1 / 1375 is less than 1


def test_free_places_are_given_whatever_the_rule_says(queue: Queue) -> None:
    wide(queue).measured(mean_ms=20_000, samples=20)
    assert queue.admitted(30) == 10


def test_what_finds_nobody_in_the_system_is_admitted(queue: Queue) -> None:
    wide(queue).measured(mean_ms=20_000, samples=20)
    queue.client.rpush(queue.keys.wake(LANE), "1")  # another route's work lies there
    assert queue.admitted(30) == 1


def test_an_untaken_marker_means_that_no_place_is_free(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    assert queue.admitted(60) == 33 - 1  # allowed 3.3 s at 0.01 per ms, one waits already
    queue.take_marker()
    assert queue.admitted(30, first=60) == 10


def test_running_tasks_use_up_the_free_places(queue: Queue) -> None:
    wide(queue).measured(mean_ms=20_000, samples=20)
    queue.admitted(7)
    queue.take_marker()
    queue.claim()
    assert queue.admitted(10, first=10) == 3


def test_as_many_as_may_run_bound_the_places(queue: Queue) -> None:
    wide(queue, max_running=2).measured(mean_ms=100, samples=20, completed=100, busy_ms=10_000)
    assert queue.admitted(60) == 2 + 33


def test_a_route_that_runs_as_many_as_may_has_no_place_free(queue: Queue) -> None:
    wide(queue, max_running=2).measured(mean_ms=100, samples=20, completed=100, busy_ms=10_000)
    queue.admit("a", "b")
    queue.take_marker()
    queue.claim()
    assert queue.marker() == 0
    assert queue.admitted(60) == 33


def test_the_places_of_a_lane_that_left_do_not_count(queue: Queue) -> None:
    queue.register("w2.a.3")
    wide(queue).measured(mean_ms=20_000, samples=20)
    queue.leave("w2.a.3")
    assert queue.admitted(30) == 10


# The pace


def test_before_any_backlog_the_pace_is_places_per_mean(queue: Queue) -> None:
    results = loaded(queue).admit("2").results
    assert results[0].wait_ms == 2 / (10 / 100)


def test_what_was_expected_fades_as_backlog_is_seen(queue: Queue) -> None:
    loaded(queue, completed=0, busy_ms=1000)
    assert queue.admitted(60) == int(3300 * (0.5 * 10) / (1000 + 0.5 * 100)) - 1


def test_it_fades_over_two_seconds_or_four_run_times(queue: Queue) -> None:
    loaded(queue, completed=0, busy_ms=2000)
    queue.measured(mean_ms=1000)
    assert queue.admitted(60) == int(3000 * (0.5 * 10) / (2000 + 0.5 * 1000)) - 1


def test_while_nothing_moves_the_pace_falls(queue: Queue) -> None:
    loaded(queue).measured(last_completion_at=START_MS)
    queue.advance(5000)
    queue.register()
    assert queue.admitted(60) == int(3300 * 10 / 5000) - 1


def test_a_route_that_runs_as_many_as_may_and_ends_none_is_stalled(queue: Queue) -> None:
    wide(queue, max_running=2).measured(mean_ms=100, samples=20, completed=100, busy_ms=10_000)
    queue.admit("a", "b", "c")
    queue.take_marker()
    queue.claim()
    queue.measured(last_completion_at=START_MS - 1000)
    assert queue.admitted(60) == int(3300 * 2 / 1000) - 1


def test_a_long_stall_closes_the_door(queue: Queue) -> None:
    loaded(queue, last_completion_at=START_MS - 40_000)
    assert queue.admitted(5) == 0


def test_a_completion_opens_the_door_again(queue: Queue) -> None:
    loaded(queue)
    queue.admitted(60)
    queue.claim(free=10)
    queue.advance(3000)
    queue.register()
    assert queue.codes("later") == [LATE]
    queue.take_marker()  # the places are free again, but many wait
    queue.complete(lease("first"))
    assert queue.codes("later") == [0]


def test_a_stall_without_saturation_is_none(queue: Queue) -> None:
    loaded(queue, last_completion_at=START_MS, completed=100, busy_ms=10_000)
    queue.advance(5000)
    queue.register()
    queue.take_marker()
    assert queue.admitted(90) == 10 + 33 - 1


def test_what_a_queue_has_shown_is_forgotten_over_ten_seconds_without_one(queue: Queue) -> None:
    loaded(queue, completed=0, busy_ms=10_000, measured_at=START_MS)
    assert queue.admitted(60) == 0
    queue.cancel(task_id("first"))
    queue.take_marker()
    queue.advance(20_000)
    queue.register()
    kept = 10_000 * math.exp(-2)
    prior = 1 - kept / 2000
    assert queue.admitted(90) == 10 + int(3300 * prior * 10 / (kept + prior * 100))


def test_it_is_remembered_as_long_as_the_queue_stands(queue: Queue) -> None:
    loaded(queue, completed=0, busy_ms=2000, measured_at=START_MS - 5000, last_completion_at=START_MS - 5000)
    assert queue.admitted(60) == 0


# The bound


def test_a_third_of_the_slack_may_be_waited(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    assert queue.admitted(60, budget_ms=1000) == int((1000 - 100) / 3 * 0.01) - 1


@pytest.mark.parametrize(("queued_ms", "allowed"), [(10_000, 33), (20_000, 16), (40_000, 8), (600_000, 2)])
def test_after_a_whole_budget_the_bound_falls_as_one_over_t_to_two_run_times(
    queue: Queue, queued_ms: int, allowed: int
) -> None:
    loaded(queue, completed=100, busy_ms=10_000, queued_since=START_MS - queued_ms)
    assert queue.admitted(60) == allowed - 1


def test_the_bound_has_fallen_to_half_after_twice_the_budget(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000, queued_since=START_MS - 20_000)
    assert queue.admitted(60) == 16 - 1


def test_the_bound_never_falls_below_two_run_times(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000, queued_since=START_MS - 600_000)
    assert queue.admitted(60) == 2 - 1


def test_an_admission_that_finds_the_queue_empty_begins_the_time(queue: Queue) -> None:
    wide(queue).admit("1")
    queue.advance(500)
    queue.admit("2")
    assert queue.statistics()["queued_since"] == START_MS
    queue.take_marker()
    queue.claim()
    queue.advance(500)
    queue.admit("3")
    assert queue.statistics()["queued_since"] == START_MS + 1000


def test_a_clock_that_stepped_back_begins_the_time_anew(queue: Queue) -> None:
    loaded(queue)
    queue.advance(-60_000)
    queue.register()
    queue.admit("2")
    assert queue.statistics()["queued_since"] == START_MS - 60_000


def test_less_time_is_refused_sooner(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    asked = [queue.request(str(i), budget_ms=(10_000, 1000)[i % 2]) for i in range(20)]
    codes = [int(result.code) for result in queue.ask(*asked).results]
    assert codes[::2] == [0] * 10
    assert codes[1::2] == [0] + [LATE] * 9


def test_a_batch_counts_what_it_admits_over_all_kinds_of_a_route(queue: Queue) -> None:
    loaded(queue, completed=100, busy_ms=10_000)
    asked = [queue.request(str(i), budget_ms=10_000 + i % 3) for i in range(60)]
    assert [int(result.code) for result in queue.ask(*asked).results].count(0) == 33 - 1


def test_routes_of_a_batch_have_their_own_counts(queue: Queue) -> None:
    queue.declare(1000, route=OTHER)
    wide(queue)
    asked = [queue.request(str(i), route=(ROUTE, OTHER)[i % 2]) for i in range(80)]
    codes = [int(result.code) for result in queue.ask(*asked).results]
    assert (codes[::2].count(0), codes[1::2].count(0)) == (20, 20)

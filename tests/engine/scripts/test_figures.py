"""What the rule of admission is fed with: mean, done, busy and mark, by claim and complete."""

from __future__ import annotations

import math

import pytest

from tests.engine.queueing import BUDGET_MS, ROUTE, START_MS, WORKER, Queue, lease, task_id

OTHER = "ba9876543210"


def run(queue: Queue, *names: str, serial: int = 1, free: int = 10) -> None:
    """Admit, and let a parked worker take what there is room for."""
    queue.admit(*names)
    queue.take_marker()
    queue.claim(serial, free=free)


# The mark: since when nothing has come free while some wait


def test_a_claim_that_leaves_a_queue_sets_the_mark_and_the_next_lets_it_stand(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    assert queue.statistics()["last_completion_at"] == START_MS
    queue.advance(500)
    queue.claim(2, free=1)
    assert queue.statistics()["last_completion_at"] == START_MS


def test_a_claim_that_empties_the_queue_takes_the_mark_away(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    queue.claim(2)
    assert "last_completion_at" not in queue.statistics()


def test_a_claim_that_empties_the_queue_takes_the_mark_of_both_sorts(queue: Queue) -> None:
    queue.measured(last_completion_at=START_MS - 9000, later_last_completion_at=START_MS - 9000)
    queue.admit("0")
    queue.measured(last_completion_at=START_MS - 9000, later_last_completion_at=START_MS - 9000)
    queue.claim()
    assert not {"last_completion_at", "~last_completion_at"} & set(queue.statistics())


def test_an_admission_sets_the_mark_only_where_no_place_is_free(queue: Queue) -> None:
    queue.admit("1")
    assert "last_completion_at" not in queue.statistics()
    queue.advance(100)
    queue.admit("2")
    assert queue.statistics()["last_completion_at"] == START_MS + 100
    queue.advance(100)
    queue.admit("3")
    assert queue.statistics()["last_completion_at"] == START_MS + 100


def test_a_refusal_sets_no_mark(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    assert queue.codes("4") == [4]
    assert "last_completion_at" not in queue.statistics()


def test_an_admission_to_an_empty_queue_takes_the_mark_away(queue: Queue) -> None:
    queue.admit("1", "2")
    queue.advance(100)
    queue.admit("3")
    queue.cancel(*(task_id(name) for name in "123"))
    queue.take_marker()
    queue.advance(100)
    queue.admit("4")
    assert "last_completion_at" not in queue.statistics()


def test_every_completion_moves_the_mark_while_some_wait(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.take_marker()
    queue.advance(300)
    queue.complete(lease("1"))
    assert queue.statistics()["last_completion_at"] == START_MS + 300
    assert "busy_ms" not in queue.statistics()  # nobody was waiting for the place that came free


def test_a_completion_without_a_queue_leaves_no_mark_and_no_pace(queue: Queue) -> None:
    run(queue, "1", "2")
    queue.advance(300)
    queue.complete(lease("1"), lease("2"))
    assert set(queue.statistics()) == {"limit", "version", "queued_since", "mean_ms", "samples"}


def test_a_queue_that_nobody_has_seen_standing_is_no_backlog(queue: Queue) -> None:
    run(queue, "1")
    queue.admit("2")
    queue.advance(300)
    queue.complete(lease("1"))
    assert not {"last_completion_at", "busy_ms"} & set(queue.statistics())


# The pace: answers in time, and the time in which they came


def test_the_pace_is_measured_while_some_wait_for_the_places_that_come_free(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.advance(300)
    queue.complete(lease("1"), lease("2"))
    statistics = queue.statistics()
    assert (statistics["completed"], statistics["busy_ms"], statistics["last_completion_at"]) == (
        2,
        300,
        START_MS + 300,
    )


def test_the_pace_fades_over_two_seconds(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    queue.measured(completed=50, busy_ms=5000)
    queue.advance(500)
    queue.complete(lease("1"))
    statistics, fade = queue.statistics(), math.exp(-500 / 2000)
    assert statistics["completed"] == pytest.approx(50 * fade + 1, rel=1e-4)
    assert statistics["busy_ms"] == pytest.approx(5000 * fade + 500, rel=1e-4)


def test_the_pace_fades_over_four_run_times_where_these_are_longer(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    queue.measured(completed=50, busy_ms=5000, mean_ms=1000, samples=20)
    queue.advance(500)
    queue.complete(lease("1"), run_ms=1000)
    assert queue.statistics()["busy_ms"] == pytest.approx(5000 * math.exp(-500 / 4000) + 500, rel=1e-4)


def test_the_pace_of_an_earlier_queue_is_forgotten_over_ten_seconds(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    queue.measured(completed=50, busy_ms=5000, measured_at=START_MS - 10_000)
    queue.advance(500)
    queue.complete(lease("1"))
    statistics, fade = queue.statistics(), math.exp(-500 / 2000) * math.exp(-1)
    assert statistics["completed"] == pytest.approx(50 * fade + 1, rel=1e-4)
    assert statistics["busy_ms"] == pytest.approx(5000 * fade + 500, rel=1e-4)
    assert statistics["measured_at"] == START_MS + 500


def test_only_answers_in_time_are_done(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.advance(300)
    queue.complete(lease("1"), in_time=False)
    statistics = queue.statistics()
    assert (statistics["completed"], statistics["busy_ms"]) == (0, 300)


def test_who_left_is_neither_done_nor_a_sample(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.cancel(task_id("1"))
    queue.advance(300)
    queue.complete(lease("1"))
    statistics = queue.statistics()
    assert (statistics["completed"], statistics["busy_ms"]) == (0, 300)
    assert "mean_ms" not in statistics


def test_without_a_sample_there_is_no_mean(queue: Queue) -> None:
    queue.declare(1000, started_ms=START_MS)
    run(queue, "1", "2", "3", free=2)
    queue.complete(lease("1"), lease("2"), sample=False)
    assert "mean_ms" not in queue.statistics()
    queue.take_marker()
    assert queue.admitted(50, first=10) == 10 + 10 - 1  # as before any sample: a mean of 0 would let in all


def test_a_report_whose_lease_is_gone_changes_no_figure(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    before = queue.statistics()
    queue.advance(300)
    queue.complete(lease("9"))
    assert queue.statistics() == before


def test_what_is_parked_waits_for_the_places_that_come_free(queue: Queue) -> None:
    queue.declare(9, started_ms=START_MS, max_running=2)
    run(queue, "1", "2", "3", "4")
    assert queue.marker() == 0
    queue.advance(300)
    queue.complete(lease("1"))
    statistics = queue.statistics()
    assert (statistics["completed"], statistics["busy_ms"]) == (1, 300)


def test_the_marker_is_looked_at_before_the_first_write(queue: Queue) -> None:
    queue.declare(9, started_ms=START_MS, max_running=2)
    run(queue, "1", "2", "3")
    queue.cancel(task_id("3"))
    queue.admit("4")
    queue.cancel(task_id("4"))
    queue.measured(last_completion_at=START_MS)
    queue.advance(300)
    queue.complete(lease("1"), lease("2"))
    assert "busy_ms" not in queue.statistics()


def test_a_clock_that_stepped_back_measures_no_negative_time(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=1)
    queue.measured(completed=10, busy_ms=1000)
    queue.advance(-5000)
    queue.complete(lease("1"))
    statistics = queue.statistics()
    assert (statistics["completed"], statistics["busy_ms"], statistics["last_completion_at"]) == (
        11,
        1000,
        START_MS - 5000,
    )


# The mean, and whose it is


def test_each_route_of_a_batch_gets_its_own_samples(queue: Queue) -> None:
    queue.declare(9, route=OTHER)
    queue.ask(queue.request("1"), queue.request("2", route=OTHER))
    queue.claim()
    reports = [queue.report(lease("1"), run_ms=100), queue.report(lease("2", route=OTHER), run_ms=300)]
    queue.report_all(*reports)
    assert (queue.statistics()["mean_ms"], queue.statistics(OTHER)["mean_ms"]) == (100, 300)


def test_detached_tasks_are_measured_apart(queue: Queue) -> None:
    queue.ask(queue.request("1"), queue.request("2", async_response=True))
    queue.claim()
    queue.report_all(queue.report(lease("1"), run_ms=100), queue.report(lease("2"), run_ms=5000))
    statistics = queue.statistics()
    assert (statistics["mean_ms"], statistics["~mean_ms"]) == (100, 5000)


def test_tenants_and_classes_are_measured_together(queue: Queue) -> None:
    queue.ask(queue.request("1", tenant="a", weight=64), queue.request("2", tenant="b", weight=1))
    queue.claim()
    queue.report_all(queue.report(lease("1"), run_ms=100), queue.report(lease("2"), run_ms=300))
    assert queue.statistics()["mean_ms"] == 200


def test_a_late_run_counts_its_whole_budget_or_its_time_if_that_was_longer(queue: Queue) -> None:
    run(queue, "1", "2")
    queue.complete(lease("1"), run_ms=50, in_time=False)
    assert queue.statistics()["mean_ms"] == BUDGET_MS
    queue.complete(lease("2"), run_ms=3 * BUDGET_MS, in_time=False)
    assert queue.statistics()["mean_ms"] == 2 * BUDGET_MS


def test_a_quick_failure_is_no_sample_and_as_much_of_a_completion_as_it_took_of_a_run(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.measured(mean_ms=200, samples=20)
    queue.advance(300)
    queue.complete(lease("1"), run_ms=50, failed=True)
    statistics = queue.statistics()
    assert (statistics["mean_ms"], statistics["samples"], statistics["completed"]) == (200, 20, 0.25)


def test_a_failure_that_took_longer_is_a_sample_and_a_whole_completion(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.measured(mean_ms=200, samples=20)
    queue.advance(300)
    queue.complete(lease("1"), run_ms=400, failed=True)
    statistics = queue.statistics()
    assert (statistics["mean_ms"], statistics["completed"]) == (210, 1)


def test_quick_failures_alone_are_weighed_by_a_quarter_of_the_budget(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.advance(300)
    queue.complete(lease("1"), run_ms=BUDGET_MS // 8, failed=True)
    statistics = queue.statistics()
    assert statistics["completed"] == 0.5
    assert "mean_ms" not in statistics


def test_a_late_failure_counts_its_whole_budget(queue: Queue) -> None:
    run(queue, "1", "2")
    queue.complete(lease("1"), run_ms=50, in_time=False, failed=True)
    assert queue.statistics()["mean_ms"] == BUDGET_MS


def test_a_failure_of_a_client_that_left_is_no_sample(queue: Queue) -> None:
    run(queue, "1", "2", "3", free=2)
    queue.cancel(task_id("1"))
    queue.advance(300)
    queue.complete(lease("1"), run_ms=50, failed=True)
    assert (queue.statistics()["completed"], "mean_ms" in queue.statistics()) == (0, False)


def test_a_quiet_route_keeps_few_figures(queue: Queue) -> None:
    for serial in range(1, 6):
        run(queue, str(serial), serial=serial)
        queue.advance(50)
        queue.complete(lease(str(serial), serial))
    queue.pass_time(3000, alive=[WORKER])
    assert set(queue.statistics()) == {"limit", "version", "queued_since", "mean_ms", "samples"}
    assert queue.client.exists(queue.keys.statistics(OTHER)) == 0


def test_a_route_that_nobody_declared_gets_no_figures(queue: Queue) -> None:
    assert queue.codes("1", route=OTHER) == [2]
    assert queue.client.exists(queue.keys.statistics(OTHER)) == 0
    assert queue.client.exists(queue.keys.statistics(ROUTE)) == 1

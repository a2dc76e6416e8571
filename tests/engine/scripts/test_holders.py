"""Who runs what: whom a cancelled run is told to, which places are free, how fast they come free over all routes."""

from __future__ import annotations

import pytest

from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import LANE, LEASE_MS, POOL, ROUTE, START_MS, WORKER, Queue, lease, task_id

LATE = AdmitCode.LATE
OTHER = "ba9876543210"
SECOND = "w2.a.10"
HIGH = f"{POOL}:5"
LOW_ONLY, ALL = "w1-low.a.10", "w2-all.a.10"
OTHER_MEAN_MS = 7000


@pytest.fixture
def reaped(queue: Queue) -> Queue:
    """Return a queue that has been reaped every second for so long that there is no mercy."""
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    return queue


def notes(queue: Queue, group: str = ".a") -> dict[str, str]:
    """Return who runs what, by task."""
    found: dict[bytes, bytes] = queue.client.hgetall(queue.keys.of("holders", group))  # type: ignore[assignment]
    return {id.decode(): entry.decode() for id, entry in found.items()}


def rung(queue: Queue, consumer: str) -> list[bytes]:
    found: list[bytes] = queue.client.lrange(queue.keys.control(consumer), 0, -1)  # type: ignore[assignment]
    return found


def busy(queue: Queue, runs: int = 10, *, mean_ms: int = OTHER_MEAN_MS, consumer: str = WORKER) -> Queue:
    """Let another route run in `runs` places, known to take seven seconds, and nothing wait."""
    for route in (ROUTE, OTHER):
        queue.declare(1000, started_ms=START_MS, route=route)
    queue.client.hset(queue.keys.statistics(OTHER), mapping={"mean_ms": mean_ms, "samples": 20})
    queue.measured(mean_ms=20, samples=20)
    queue.admit(*(f"o{i}" for i in range(runs)), route=OTHER)
    for serial in range(90, 99):  # of a lane that others serve too, a claim takes its share
        queue.claim(serial, consumer=consumer, free=runs)
    queue.take_marker()
    assert len(queue.running(OTHER)) == runs
    return queue


# Who runs it


def test_a_claim_notes_who_runs_it_since_when_and_its_time_out(queue: Queue) -> None:
    queue.admit("1", budget_ms=3000)
    queue.admit("2", budget_ms=4000, async_response=True)
    queue.claim()
    assert notes(queue) == {task_id("1"): f"{WORKER} {START_MS} 3000", task_id("2"): f"{WORKER} {START_MS} 4000~"}


def test_whatever_ends_a_run_ends_its_note(queue: Queue) -> None:
    queue.declare(9, started_ms=START_MS)
    queue.admit("1", "2", "3", "4", tries=2)
    queue.claim()
    queue.complete(lease("1"))
    assert len(notes(queue)) == 3
    queue.release(lease("2"), started=True)
    assert len(notes(queue)) == 2
    queue.reclaim(1, lease("4"))
    assert set(notes(queue)) == {task_id("4")}


def test_a_lease_that_ends_ends_its_note(reaped: Queue) -> None:
    reaped.admit("1", tries=1)
    reaped.claim()
    reaped.pass_time(LEASE_MS + 1000, alive=[WORKER])
    assert notes(reaped) == {}


def test_a_cancelled_run_is_told_to_its_holder_alone(queue: Queue) -> None:
    queue.register(SECOND)
    queue.admit("1", "2")
    queue.claim(consumer=SECOND)
    assert queue.cancel(task_id("1")) == [2]
    assert (rung(queue, SECOND), rung(queue, WORKER)) == ([task_id("1").encode()], [])


def test_who_leaves_is_told_of_what_it_still_runs(queue: Queue) -> None:
    queue.register(SECOND)
    queue.admit("1")
    queue.claim(consumer=SECOND)
    queue.send_leave(SECOND, lease("1", consumer=SECOND))
    queue.cancel(task_id("1"))
    assert rung(queue, SECOND)[-1] == task_id("1").encode()


def test_what_an_older_process_took_is_noted_by_the_next_reap(reaped: Queue) -> None:
    reaped.admit("1")
    reaped.claim()
    reaped.client.delete(reaped.keys.of("holders", ".a"))
    reaped.pass_time(1000, alive=[WORKER], leases=[lease("1")])
    assert notes(reaped) == {task_id("1"): f"{WORKER} {reaped.now_ms} 10000"}


def test_what_a_leaving_worker_does_not_name_is_noted_once(reaped: Queue) -> None:
    reaped.admit("1")
    reaped.claim()
    before = notes(reaped)
    reaped.leave()
    reaped.pass_time(1000)
    assert notes(reaped) == {}
    assert notes(reaped, "left") == before


def test_a_note_of_what_runs_no_more_goes_with_the_next_reap(reaped: Queue) -> None:
    reaped.admit("1")
    reaped.claim()
    reaped.client.hset(reaped.keys.of("holders", ".a"), task_id("9"), f"{WORKER} 1 1")
    since = reaped.now_ms
    reaped.pass_time(1000, alive=[WORKER], leases=[lease("1")])
    assert notes(reaped) == {task_id("1"): f"{WORKER} {since} 10000"}


# Which places are free


def test_places_in_which_other_routes_run_are_not_free(queue: Queue) -> None:
    busy(queue, 7, mean_ms=20_000).measured(mean_ms=20_000, samples=20)
    assert queue.admitted(10) == 3


def test_what_a_leaving_worker_still_runs_takes_no_place_of_those_that_stay(queue: Queue) -> None:
    queue.register(SECOND)
    busy(queue, 10, consumer=SECOND)
    queue.send_leave(SECOND, *queue.running(OTHER))
    assert len(notes(queue, "left")) == 10
    assert queue.admitted(10) == 10


def test_a_worker_that_serves_again_takes_its_runs_with_it(queue: Queue) -> None:
    queue.register(SECOND)
    busy(queue, 10, consumer=SECOND)
    leases = sorted(queue.running(OTHER))
    queue.send_leave(SECOND, *leases)
    queue.register(SECOND, leases=leases)
    assert (len(notes(queue)), len(notes(queue, "left"))) == (10, 0)


def test_what_a_dead_worker_ran_takes_no_place_of_those_that_live(reaped: Queue) -> None:
    reaped.register(SECOND)
    busy(reaped, 10, consumer=SECOND)
    reaped.pass_time(LEASE_MS - 1000, alive=[WORKER])
    assert len(notes(reaped, "left")) == 10
    assert reaped.admitted(10) == 10
    reaped.pass_time(2000, alive=[WORKER])
    assert notes(reaped, "left") == {}


def test_a_level_has_the_places_of_the_workers_that_serve_it(queue: Queue) -> None:
    queue.leave()
    queue.register(LOW_ONLY)
    queue.register(ALL, lanes=(LANE, HIGH))
    busy(queue, 10, consumer=ALL)
    queue.measured(mean_ms=20_000, samples=20)
    assert queue.admitted(20, lane=HIGH) == 0
    assert queue.admitted(30, first=20) == 10


# How fast they come free


def test_a_route_that_runs_nothing_waits_for_the_places_of_the_others(queue: Queue) -> None:
    busy(queue)
    queue.advance(OTHER_MEAN_MS - 500)
    queue.register()
    third = (2000 - 20) / 3
    assert queue.admitted(100, budget_ms=2000) == int(third * 10 / OTHER_MEAN_MS) or 1


def test_where_none_of_the_others_is_expected_to_end_in_time_nobody_comes_in(queue: Queue) -> None:
    assert busy(queue).codes("1", budget_ms=2000) == [LATE]


def test_who_may_wait_until_the_others_end_comes_in(queue: Queue) -> None:
    third = (60_000 - 20) / 3
    assert busy(queue).admitted(100, budget_ms=60_000) == int(third * 10 / OTHER_MEAN_MS)


def test_without_a_sample_the_others_take_their_time_out(queue: Queue) -> None:
    busy(queue)
    queue.client.hdel(queue.keys.statistics(OTHER), "mean_ms")
    assert queue.admitted(100, budget_ms=60_000) == int((60_000 - 20) / 3 * 10 / 10_000)


def test_where_nobody_can_come_in_before_its_time_is_up_not_even_the_first_does(queue: Queue) -> None:
    assert busy(queue, mean_ms=60_000).codes("1", budget_ms=2000) == [LATE]


def test_a_refusal_tells_the_pace_at_which_the_others_usually_end(queue: Queue) -> None:
    result = busy(queue).admit("1", budget_ms=2000).results[0]
    assert result.retry_after_ms == pytest.approx((1 + 2) / (10 / OTHER_MEAN_MS), rel=1e-3)


def test_its_own_runs_are_counted_at_its_own_pace(queue: Queue) -> None:
    busy(queue, 9).admit("1", budget_ms=2000)
    queue.take_marker()
    queue.claim(99)
    assert queue.admitted(100, first=10, budget_ms=2000) == int((2000 - 20) / 3 / 20)


def test_a_free_place_that_nobody_has_taken_yet_is_counted_at_its_own_pace(queue: Queue) -> None:
    busy(queue, 5).admit("1")
    assert queue.admitted(100, first=10, budget_ms=500) == int((500 - 20) / 3 * 5 / 20) - 1


def test_the_sum_is_made_anew_soon(queue: Queue) -> None:
    busy(queue).codes("1", budget_ms=2000)
    queue.complete(*(lease(f"o{i}", 90, WORKER, OTHER) for i in range(10)))
    queue.client.hset(queue.keys.statistics(OTHER), "mean_ms", 20)
    queue.admit(*(f"p{i}" for i in range(10)), route=OTHER)
    queue.take_marker()
    queue.claim(99)
    assert queue.codes("2", budget_ms=2000) == [LATE]
    queue.advance(60)
    assert queue.admitted(200, first=10, budget_ms=500) == int((500 - 20) / 3 * 10 / 20)


def test_what_was_taken_since_the_sum_counts_as_its_own(queue: Queue) -> None:
    busy(queue, 9).admit("1", budget_ms=60_000)
    queue.admit("2", budget_ms=60_000)  # has to wait: summed
    queue.take_marker()
    queue.claim(99, free=1)
    assert queue.statistics(ROUTE)["mean_ms"] == 20
    assert queue.admitted(40, first=10, budget_ms=1000) == int((1000 - 20) / 3 * 2 / 20) - 1


# What older processes and garbage leave


@pytest.mark.leaves_garbage
def test_garbage_in_the_place_of_notes_loses_no_answer(reaped: Queue) -> None:
    reaped.admit("1", "2", "3")
    reaped.claim(free=1)
    reaped.client.set(reaped.keys.of("holders", ".a"), "garbage")
    assert reaped.complete(lease("1")) == [True]
    assert reaped.replies() == [(task_id("1"), "done")]
    reaped.client.set(reaped.keys.of("holders", ".a"), "garbage")
    assert reaped.claimed(2, free=1) == [task_id("2")]
    assert reaped.repair() == ["holders:.a"]
    reaped.pass_time(1000, alive=[WORKER])
    assert set(notes(reaped)) == {task_id("2")}
    reaped.pass_time(LEASE_MS, alive=[WORKER])
    assert reaped.running() == set()
    assert notes(reaped) == {}


@pytest.mark.leaves_garbage
def test_notes_of_a_group_that_left_end_by_themselves(reaped: Queue) -> None:
    reaped.register(ALL)
    reaped.admit("1")
    reaped.claim(consumer=ALL)
    reaped.pass_time(1000, alive=[WORKER, ALL])
    reaped.client.zrem(reaped.keys.running(ROUTE), lease("1", consumer=ALL))
    reaped.client.hdel(reaped.keys.of("tasks"), task_id("1"))
    reaped.client.zrem(reaped.keys.slots(ROUTE), task_id("1"))
    reaped.leave(ALL)
    reaped.pass_time(1000, alive=[WORKER])
    assert 0 < reaped.client.ttl(reaped.keys.of("holders", "-all.a")) <= 7200

"""max_running: what is held back waits in no lane, and follows whatever frees a place of its route."""

from __future__ import annotations

from floodgate.broker.cancellation import CancelCode
from tests.engine.queueing import LANE, LEASE_MS, POOL, ROUTE, START_MS, WORKER, Queue, lease, task_id

W2 = "w2.a.4"
OTHER = "ba9876543210"


def bounded(queue: Queue, most: int = 2, limit: int = 1000) -> Queue:
    """Let `most` run at once, and leave it to nothing else who comes in."""
    queue.declare(limit, started_ms=START_MS, max_running=most)
    queue.measured(mean_ms=1, samples=20, completed=100_000, busy_ms=10_000)
    return queue


def counts(queue: Queue) -> tuple[int, int, int]:
    """Return how many run, wait and are parked."""
    return len(queue.running()), len(queue.waiting()), len(queue.parked())


def ids(*names: str) -> list[str]:
    return [task_id(name) for name in names]


def test_what_may_not_run_yet_is_parked_and_holds_its_slot(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4")
    assert queue.waiting() == ids("1", "2")
    assert queue.parked() == ids("3", "4")
    assert queue.slots() == queue.tasks() == set(ids("1", "2", "3", "4"))
    queue.admit("5")
    assert counts(queue) == (0, 2, 3)


def test_a_batch_of_several_kinds_parks_what_is_over(queue: Queue) -> None:
    bounded(queue)
    queue.ask(*(queue.request(str(i), budget_ms=9000 + i, weight=(8, 64)[i % 2]) for i in range(7)))
    assert counts(queue) == (0, 2, 5)


def test_what_is_parked_lays_no_marker(queue: Queue) -> None:
    bounded(queue).admit("1", "2")
    queue.take_marker()
    queue.claim()
    queue.admit("3")
    assert queue.marker() == 0
    queue.pass_time(3000, alive=[WORKER], leases=[lease("1"), lease("2")])
    assert queue.marker() == 0
    assert queue.claimed(2) == []
    assert queue.marker() == 0


def test_a_completion_brings_the_next_with_a_marker(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4")
    queue.take_marker()
    queue.claim()
    queue.complete(lease("1"))
    assert (queue.waiting(), queue.parked(), queue.marker()) == (ids("3"), ids("4"), 1)
    queue.complete(lease("2"))
    assert counts(queue) == (0, 2, 0)


def test_a_completion_whose_lease_is_gone_brings_nobody(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3")
    queue.claim()
    queue.complete(lease("9"))
    assert counts(queue) == (2, 0, 1)


def test_a_cancelled_run_keeps_its_place_until_it_ends(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3")
    queue.claim()
    assert queue.cancel(task_id("1")) == [CancelCode.NOTIFIED]
    assert counts(queue) == (2, 0, 1)
    queue.complete(lease("1"))
    assert counts(queue) == (1, 1, 0)


def test_who_waits_and_leaves_makes_way(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4")
    assert queue.cancel(task_id("1")) == [CancelCode.REMOVED]
    assert (queue.waiting(), queue.parked()) == (ids("2", "3"), ids("4"))


def test_who_is_parked_and_leaves_makes_no_way(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4")
    assert queue.cancel(task_id("3")) == [CancelCode.REMOVED]
    assert (queue.waiting(), queue.parked()) == (ids("1", "2"), ids("4"))
    assert queue.replies() == []


def test_a_parked_task_that_is_cancelled_gives_its_turn_back(queue: Queue) -> None:
    bounded(queue, 1).admit("1")
    before = queue.client.zscore(queue.keys.of("clock", POOL), f"{ROUTE}|8|")
    queue.admit("2")
    queue.cancel(task_id("2"))
    assert queue.client.zscore(queue.keys.of("clock", POOL), f"{ROUTE}|8|") == before


def test_what_a_claim_drops_makes_way(queue: Queue) -> None:
    bounded(queue).admit("1", "2", budget_ms=500)
    queue.admit("3", "4", "5")
    queue.advance(500)
    assert queue.claimed() == []
    assert (queue.waiting(), queue.parked(), queue.marker()) == (ids("3", "4"), ids("5"), 1)


def test_what_was_lost_makes_way(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", tries=1)
    queue.claim()
    queue.release(lease("1"), started=True)
    assert counts(queue) == (1, 1, 0)
    queue.admit("4")
    queue.reclaim(1, lease("2"))
    assert counts(queue) == (1, 1, 1)
    queue.reclaim(1)
    assert counts(queue) == (0, 2, 0)


def test_what_goes_back_keeps_its_place(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", tries=2)
    queue.claim()
    queue.release(lease("1"), started=False)
    assert counts(queue) == (1, 1, 1)
    queue.release(lease("2"), started=True)
    assert (queue.running(), set(queue.waiting()), queue.parked()) == (set(), set(ids("1", "2")), ids("3"))


def test_a_dead_worker_makes_way_when_its_lease_ends(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    bounded(queue).admit("1", "2", "3", tries=1, budget_ms=60_000)
    queue.claim()
    queue.pass_time(LEASE_MS + 1000, alive=[W2])
    assert counts(queue) == (0, 1, 0)
    assert queue.marker() == 1


def test_what_is_parked_past_its_deadline_is_expired_and_answered(queue: Queue) -> None:
    bounded(queue).admit("1", "2")
    queue.admit("3", "4", budget_ms=1500)
    queue.admit("5")
    queue.claim()
    queue.pass_time(2000, alive=[WORKER], leases=[lease("1"), lease("2")])
    assert sorted(queue.replies()) == [(id, "expired") for id in ids("3", "4")]
    assert counts(queue) == (2, 0, 1)


def test_an_overrun_keeps_its_place(queue: Queue) -> None:
    bounded(queue, 1).admit("1", budget_ms=1500)
    queue.claim()
    queue.admit("2", budget_ms=60_000)
    queue.pass_time(4000, alive=[WORKER], leases=[lease("1")])
    assert counts(queue) == (1, 0, 1)


def test_a_stray_makes_way_at_its_deadline(queue: Queue) -> None:
    bounded(queue).admit("1", "2", budget_ms=1500)
    queue.admit("3", budget_ms=60_000)
    queue.client.zrem(queue.keys.of("waiting", LANE), task_id("1"))
    queue.pass_time(2000, alive=[WORKER])
    assert counts(queue) == (0, 1, 0)
    assert (task_id("1"), "lost") in queue.replies()


def test_a_raised_limit_brings_more_within_a_reap(queue: Queue) -> None:
    bounded(queue).admitted(9)
    bounded(queue, 5)
    queue.pass_time(1000, alive=[WORKER])
    assert counts(queue) == (0, 5, 4)
    assert queue.marker() == 1


def test_a_lowered_limit_removes_nobody_and_lets_nobody_follow(queue: Queue) -> None:
    bounded(queue, 3).admitted(6)
    queue.claim()
    bounded(queue, 1)
    queue.pass_time(1000, alive=[WORKER], leases=[lease(str(i)) for i in range(3)])
    assert counts(queue) == (3, 0, 3)
    queue.complete(lease("0"))
    queue.complete(lease("1"))
    assert counts(queue) == (1, 0, 3)
    queue.complete(lease("2"))
    assert counts(queue) == (0, 1, 2)


def test_a_limit_that_is_gone_lets_all_follow(queue: Queue) -> None:
    bounded(queue).admitted(9)
    bounded(queue, 0)
    queue.take_marker()
    queue.admit("new")
    assert task_id("new") in queue.waiting()
    queue.pass_time(1000, alive=[WORKER])
    assert counts(queue) == (0, 10, 0)


def test_an_older_start_changes_no_running_limit(queue: Queue) -> None:
    bounded(queue, 4)
    queue.declare(started_ms=START_MS - 9, max_running=2)
    assert queue.statistics()["max_running"] == 4
    queue.declare(started_ms=START_MS - 9)
    assert queue.statistics()["max_running"] == 4
    queue.declare(started_ms=START_MS)
    assert "max_running" not in queue.statistics()


def test_very_many_follow_in_steps(queue: Queue) -> None:
    bounded(queue, 1, limit=5000)
    for first in range(0, 2048, 256):
        queue.admitted(256, first=first)
    bounded(queue, 0)
    queue.pass_time(1000, alive=[WORKER])
    assert counts(queue) == (0, 1001, 1047)
    queue.pass_time(2000, alive=[WORKER])
    assert counts(queue) == (0, 2048, 0)


def test_one_route_that_is_held_back_holds_back_no_other(queue: Queue) -> None:
    queue.declare(9, route=OTHER)
    bounded(queue, 1).admit("1", "2", "3")
    queue.admit("a", "b", route=OTHER)
    queue.take_marker()
    assert sorted(queue.claimed()) == sorted([task_id("1"), task_id("a", OTHER), task_id("b", OTHER)])
    queue.complete(lease("a", route=OTHER))
    assert queue.parked() == ids("2", "3")


def test_lanes_of_a_route_share_its_running_limit(queue: Queue) -> None:
    lane = f"{POOL}:5"
    queue.register(W2, lanes=[LANE, lane])
    bounded(queue, 1).ask(queue.request("1"), queue.request("2", lane=lane))
    assert (queue.waiting(), queue.waiting(lane), queue.parked()) == (ids("1"), [], ids("2"))
    queue.take_marker()
    queue.claim(consumer=W2, lanes=[LANE, lane])
    queue.complete(lease("1", consumer=W2))
    assert (queue.waiting(lane), queue.marker(lane), queue.marker()) == (ids("2"), 1, 0)

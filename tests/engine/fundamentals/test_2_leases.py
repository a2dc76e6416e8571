"""A claim is a lease: a worker holds a task for a limited time, and says once a second that it still lives."""

from __future__ import annotations

from tests.engine.queueing import LEASE_MS, WORKER, Queue, lease, task_id

OTHER = "other.a.4"


def test_a_task_is_with_one_worker_at_a_time(queue: Queue) -> None:
    queue.register(OTHER)
    queue.admit("1")
    assert queue.claimed(1) == [task_id("1")]
    assert queue.claimed(1, consumer=OTHER) == []


def test_a_worker_that_renews_keeps_its_task(queue: Queue) -> None:
    queue.admit("1")
    queue.claim()
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER], leases=[lease("1")])
    assert queue.running() == {lease("1")}


def test_the_task_of_a_silent_worker_goes_to_another(queue: Queue) -> None:
    queue.register(OTHER)
    queue.admit("1", tries=2)
    queue.claim()
    queue.pass_time(LEASE_MS + 2000, alive=[OTHER])
    assert queue.claimed(1, consumer=OTHER) == [task_id("1")]


def test_who_lost_its_lease_changes_nothing_any_more(queue: Queue) -> None:
    queue.register(OTHER)
    queue.admit("1", tries=2)
    queue.claim()
    queue.pass_time(LEASE_MS + 2000, alive=[OTHER])
    assert queue.complete(lease("1")) == [False]
    assert queue.replies() == []
    assert queue.waiting() == [task_id("1")]

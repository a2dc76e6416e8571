"""What max_running holds back: its turn, its lane, and garbage in its place."""

from __future__ import annotations

import pytest

from tests.engine.queueing import LANE, LEASE_MS, POOL, ROUTE, WORKER, Queue, lease, task_id
from tests.engine.scripts.test_running import bounded, counts, ids


def test_what_is_parked_follows_by_start_tag(queue: Queue) -> None:
    bounded(queue, 1).admit("1", "2", "3")
    queue.admit("other", tenant="b")
    queue.claim()
    queue.complete(lease("1"))
    assert queue.waiting() == [task_id("other")]


def test_newcomers_do_not_overtake_what_is_parked(queue: Queue) -> None:
    bounded(queue, 1)
    queue.admit("0")
    for number in range(3):
        queue.claim(number)
        queue.admit(str(number + 1), budget_ms=60_000)
        queue.pass_time(1000, alive=[WORKER], leases=[lease(str(number), number)])  # no lane has work: reap sweeps
    queue.admit("last", budget_ms=60_000)
    assert queue.parked() == ids("1", "2", "3", "last")


def test_an_idle_pool_with_nothing_parked_keeps_no_clock(queue: Queue) -> None:
    bounded(queue, 1).admit("1", "2")
    queue.claim()
    queue.pass_time(1000, alive=[WORKER], leases=[lease("1")])
    assert queue.client.exists(queue.keys.of("clock", POOL)) == 1
    queue.complete(lease("1"))
    queue.claim(2)
    queue.complete(lease("2", 2))
    queue.pass_time(1000, alive=[WORKER])
    assert queue.client.exists(queue.keys.of("clock", POOL)) == 0


def test_a_lane_that_nobody_serves_ends_with_what_is_parked(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    bounded(queue, 1).admit("1", "2", "3", tries=1, budget_ms=8000)
    queue.claim()
    queue.pass_time(20_000)
    assert queue.slots() == set()
    found = queue.snapshot()
    assert not [name for name in found if name.partition(":")[0] in ("lanes", "wake", "clock", "parked", "waiting")]


def test_a_lane_that_was_forgotten_is_walked_again_for_what_goes_back(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    queue.admit("1", tries=2, budget_ms=20_000)
    queue.claim()
    queue.pass_time(4000)  # the registration has ended, the lease not yet
    assert queue.client.exists(queue.keys.lanes()) == 0
    queue.pass_time(4000)
    assert queue.waiting() == [task_id("1")]
    queue.pass_time(20_000)
    assert not [name for name in queue.snapshot() if name.startswith(("wake:", "lanes"))]


# Garbage


@pytest.mark.leaves_garbage
def test_garbage_among_the_parked_is_dropped_and_takes_nobodys_place(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4", "5")
    blob = queue.request("9").blob
    queue.client.zadd(queue.keys.parked(ROUTE), {"nonsense": -1, task_id("8"): -1, task_id("9"): -1})
    queue.client.hset(queue.keys.of("tasks"), task_id("9"), blob)
    queue.claim()
    queue.complete(lease("1"))
    assert counts(queue) == (1, 1, 2)
    assert queue.complete(lease("2")) == [True]
    assert (queue.waiting(), queue.parked()) == (ids("3", "4"), ids("5"))


@pytest.mark.leaves_garbage
def test_a_parked_task_without_its_blob_frees_its_slot_and_the_next_follows(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4")
    queue.client.hset(queue.keys.of("tasks"), task_id("3"), "garbage")
    queue.claim()
    queue.complete(lease("1"))
    assert (queue.waiting(), queue.parked()) == (ids("4"), [])
    assert queue.slots() == set(ids("2", "4"))


@pytest.mark.leaves_garbage
def test_garbage_that_would_let_too_many_run_is_dropped_by_reap(queue: Queue) -> None:
    bounded(queue).admit("1", "2", "3", "4", "5")
    queue.claim()
    queue.client.zadd(queue.keys.parked(ROUTE), {"nonsense": "inf", task_id("9"): 1e12})
    queue.advance(1000)
    queue.register(leases=[lease("1"), lease("2")])
    assert queue.reap().malformed == 2
    queue.complete(lease("1"))
    assert counts(queue) == (1, 1, 2)


@pytest.mark.leaves_garbage
def test_keys_of_a_wrong_type_are_repaired_while_tasks_are_due(queue: Queue) -> None:
    keys = queue.keys
    for name in (keys.parked(ROUTE), keys.slots(ROUTE), keys.of("waiting", LANE), keys.of("clock", POOL)):
        bounded(queue).admit("1", "2", "3", "4", budget_ms=1500)
        queue.client.set(name, "garbage")
        assert queue.repair() == [name.removeprefix(keys.prefix)]
        queue.pass_time(3000, alive=[WORKER])
        assert queue.slots() == queue.tasks() == set(), name
        assert queue.codes("5", budget_ms=1500) == [0], name
        queue.pass_time(3000, alive=[WORKER])


@pytest.mark.leaves_garbage
@pytest.mark.parametrize("garbage", ["0", "-1", "x", "nan", "inf"])
def test_a_running_limit_that_is_none_holds_nobody_back(queue: Queue, garbage: str) -> None:
    bounded(queue).admit("1", "2", "3")
    queue.client.hset(queue.keys.statistics(ROUTE), "max_running", garbage)
    queue.take_marker()
    queue.admit("4")
    queue.pass_time(1000, alive=[WORKER])
    assert counts(queue) == (0, 4, 0)

"""Tenants: how many of a route's slots one may hold, and whose turn it is. Ten places."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from floodgate.broker.commands import AdmitCode
from floodgate.broker.keys import INFLIGHT_S, flow_of
from tests.engine.queueing import LEASE_MS, POOL, ROUTE, START_MS, WORKER, Queue, lease, task_id

LATE, FULL, SHARE = AdmitCode.LATE, AdmitCode.FULL, AdmitCode.SHARE
W2 = "w2.a.4"
OTHER = "ba9876543210"
SHARERS = f"{POOL}|{ROUTE}|8"


def limited(queue: Queue, limit: int, max_running: int = 0) -> Queue:
    queue.declare(limit, started_ms=START_MS, max_running=max_running)
    return queue


def test_a_tenant_holds_three_quarters_of_the_places_at_most(queue: Queue) -> None:
    limited(queue, 20)
    assert queue.codes(*(str(i) for i in range(17)), tenant="a") == [0] * 15 + [SHARE] * 2
    queue.take_marker()
    assert queue.admitted(9, first=20, tenant="b") == 5


def test_a_tenants_room_is_smaller_in_a_lower_class(queue: Queue) -> None:
    limited(queue, 20)
    assert queue.codes(*(str(i) for i in range(12)), tenant="a", share=600) == [0] * 9 + [SHARE] * 3


def test_a_tenant_is_counted_over_all_kinds_of_a_batch(queue: Queue) -> None:
    limited(queue, 20)
    asked = [queue.request(str(i), tenant="a", budget_ms=9000 + i, weight=(8, 64)[i % 2]) for i in range(20)]
    assert [int(v.code) for v in queue.ask(*asked).results] == [0] * 15 + [SHARE] * 5


def test_a_tenant_is_counted_over_detached_and_other_tasks(queue: Queue) -> None:
    limited(queue, 20)
    assert queue.admitted(10, tenant="a") == 10
    queue.take_marker()
    assert queue.admitted(10, first=10, tenant="a", async_response=True) == 5


def test_a_tenants_share_is_per_route(queue: Queue) -> None:
    queue.declare(4, route=OTHER)
    limited(queue, 4)
    assert queue.admitted(9, tenant="a") == 3
    assert queue.admitted(9, route=OTHER, tenant="a") == 3


def test_who_has_no_tenant_is_not_bounded(queue: Queue) -> None:
    limited(queue, 20)
    assert queue.admitted(30) == 20


def test_tenants_take_turns(queue: Queue) -> None:
    limited(queue, 1000)
    queue.admitted(9, tenant="noisy")
    queue.admit("polite", tenant="b")
    assert task_id("polite") in queue.claimed(free=2)


def test_parked_tasks_of_tenants_follow_in_turn(queue: Queue) -> None:
    limited(queue, 1000, max_running=1)
    queue.admitted(9, tenant="noisy")
    queue.admit("polite", tenant="b")
    queue.claim()
    queue.complete(lease("0"))
    queue.claim(2)
    queue.complete(lease("1", 2))
    assert task_id("polite") not in queue.parked()


def ends(queue: Queue) -> dict[str, list[Callable[[], object]]]:
    """Return every way a task named `1` can end after its claim."""

    def cancel() -> object:
        return queue.cancel(task_id("1"))

    def release(started: bool = False) -> object:
        return queue.release(lease("1"), started=started)

    return {
        "complete": [lambda: queue.complete(lease("1"))],
        "complete, cancelled": [cancel, lambda: queue.complete(lease("1"))],
        "release, lost": [lambda: release(started=True)],
        "release, expired": [lambda: queue.advance(20_000), release],
        "release, cancelled": [cancel, release],
        "join, lost": [lambda: queue.reclaim(1)],
        "reap, lost": [lambda: queue.pass_time(LEASE_MS + 3000)],
        "reap, cancelled": [cancel, lambda: queue.pass_time(LEASE_MS + 3000)],
        "reap, a stray": [
            lambda: queue.client.zrem(queue.keys.running(ROUTE), lease("1")),
            lambda: queue.pass_time(12_000, alive=[WORKER]),
        ],
    }


def test_every_end_of_a_run_gives_the_tenants_share_back(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    for way, steps in ends(queue).items():
        queue.register()
        assert queue.codes("1", tenant="a") == [0], way
        assert queue.tenant_inflight("a") == {task_id("1")}, way
        queue.claim()
        for step in steps:
            step()
        assert queue.tenant_inflight("a") == queue.slots() == set(), way


def test_every_end_before_a_run_gives_the_tenants_share_back(queue: Queue) -> None:
    queue.admit("1", "2", "3", tenant="a", budget_ms=2000)
    queue.cancel(task_id("1"))
    assert queue.tenant_inflight("a") == {task_id("2"), task_id("3")}
    queue.advance(2000)
    queue.claim(free=1)
    assert queue.tenant_inflight("a") == {task_id("3")}
    queue.pass_time(2000, alive=[WORKER])
    assert queue.tenant_inflight("a") == queue.slots() == set()


def test_what_is_parked_and_ends_gives_the_tenants_share_back(queue: Queue) -> None:
    limited(queue, 9, max_running=1)
    queue.measured(mean_ms=1, samples=20)
    queue.admit("1", tenant="a")
    queue.admit("2", "3", tenant="a", budget_ms=2000)
    queue.cancel(task_id("2"))
    assert queue.tenant_inflight("a") == {task_id("1"), task_id("3")}
    queue.pass_time(3000, alive=[WORKER])
    assert queue.tenant_inflight("a") == {task_id("1")}


def test_what_goes_back_is_still_held(queue: Queue) -> None:
    queue.admit("1", tenant="a", tries=2)
    queue.claim()
    queue.release(lease("1"), started=True)
    assert queue.tenant_inflight("a") == {task_id("1")}


def test_what_overruns_its_deadline_is_held_until_it_ends(queue: Queue) -> None:
    limited(queue, 4)
    queue.admit("1", "2", "3", tenant="a", budget_ms=1000)
    queue.claim()
    leases = [lease(name) for name in "123"]
    queue.pass_time(30_000, alive=[WORKER], leases=leases)
    assert queue.codes("4", tenant="a") == [SHARE]
    queue.complete(*leases)
    assert queue.tenant_inflight("a") == set()


def test_what_has_just_overrun_is_still_held(queue: Queue) -> None:
    queue.admit("1", tenant="a", budget_ms=1000)
    queue.take_marker()
    queue.claim()
    queue.advance(1500)
    queue.admit("2", tenant="a")
    assert queue.tenant_inflight("a") == {task_id("1"), task_id("2")}


def test_what_overran_unseen_is_held_again_when_it_is_looked_at(queue: Queue) -> None:
    queue.admit("1", tenant="a", budget_ms=1000)
    queue.claim()
    queue.advance(20_000)
    queue.register(leases=[lease("1")])
    queue.admit("2", tenant="a")
    assert queue.tenant_inflight("a") == {task_id("2")}
    queue.reap()
    assert queue.tenant_inflight("a") == {task_id("1"), task_id("2")}


def test_a_key_of_a_tenant_ends_by_itself(queue: Queue) -> None:
    queue.admit("1", tenant="a")
    assert 0 < queue.client.ttl(queue.keys.of("tenant_inflight", f"{ROUTE}|a")) <= INFLIGHT_S
    queue.cancel(task_id("1"))
    assert queue.client.exists(queue.keys.of("tenant_inflight", f"{ROUTE}|a")) == 0


@pytest.mark.leaves_garbage
def test_garbage_in_the_place_of_a_tenants_tasks_loses_no_answer(queue: Queue) -> None:
    key = queue.keys.of("tenant_inflight", f"{ROUTE}|a")
    queue.ask(queue.request("1", tenant="a"), queue.request("2"))
    queue.claim()
    queue.client.set(key, "garbage")
    assert queue.complete(lease("1"), lease("2")) == [True, True]
    assert len(queue.replies()) == 2
    assert queue.repair() == [f"tenant_inflight:{ROUTE}|a"]


@pytest.mark.leaves_garbage
def test_what_a_crash_left_with_a_tenant_is_forgotten(queue: Queue) -> None:
    limited(queue, 4)
    queue.client.zadd(queue.keys.of("tenant_inflight", f"{ROUTE}|a"), {task_id(name): START_MS for name in "xyz"})
    assert queue.codes("1", tenant="a") == [SHARE]
    queue.advance(10_001)
    queue.register()
    assert queue.codes("1", tenant="a") == [0]
    assert queue.tenant_inflight("a") == {task_id("1")}


HOSTILE = ["a|b", "~", "", " ", "a" * 65, "{x}", "a\n", "\x00", "é", "\udcff", "a|8|~", "#", "*", "a:b", "=" * 9]


@pytest.mark.parametrize("tenant", [name for name in HOSTILE if name])
def test_a_hostile_name_is_a_tenant_like_any_other(queue: Queue, tenant: str) -> None:
    limited(queue, 4)
    assert queue.admitted(9, tenant=tenant) == 3
    assert queue.admitted(9, first=10, tenant="polite") == 1
    assert "~mean_ms" not in queue.statistics()
    queue.claim()
    assert queue.complete(*(lease(str(i)) for i in range(3))) == [True] * 3
    names = [name for name in queue.snapshot() if name.startswith("tenant_inflight:")]
    assert names == [f"tenant_inflight:{ROUTE}|polite"]


def test_no_plain_name_is_the_digest_of_another() -> None:
    digest = flow_of(ROUTE, 8, "a|b").rpartition("|")[2]
    assert flow_of(ROUTE, 8, digest).rpartition("|")[2] != digest


def test_a_thousand_tenants_leave_nothing_behind(queue: Queue) -> None:
    limited(queue, 10_000)
    queue.measured(mean_ms=1, samples=20, completed=100_000, busy_ms=10_000)
    for first in range(0, 1000, 250):
        asked = [queue.request(str(i), tenant=f"t{i}") for i in range(first, first + 250)]
        assert {int(v.code) for v in queue.ask(*asked).results} == {0}
    for serial in range(1, 110):
        leases = [f"{WORKER}#{serial}#{id}" for id in queue.claimed(serial)]
        queue.complete(*leases)
    queue.pass_time(1000, alive=[WORKER])
    assert not [name for name in queue.snapshot() if name.startswith(("tenant_inflight:", "clock:"))]
    assert 0 < queue.client.ttl(queue.keys.of("turns", SHARERS)) <= INFLIGHT_S
    assert len(queue.statistics()) <= 12


def test_flows_that_have_had_their_turn_are_forgotten_while_others_wait(queue: Queue) -> None:
    limited(queue, 10_000)
    queue.measured(mean_ms=100, samples=20, completed=100_000, busy_ms=10_000)
    for serial in range(1, 61):
        queue.admit(f"{serial}", f"{serial}b", tenant=f"t{serial}")
        queue.claim(serial, free=1)
        if serial % 10 == 0:
            queue.advance(1000)
            queue.register()
            queue.reap()
    assert queue.client.zcard(queue.keys.of("turns", SHARERS)) <= 62

"""202s whose workers have left: kept aside, then run by who agrees about the route, never beyond a limit."""

from __future__ import annotations

import pytest

from floodgate.broker.cancellation import CancelCode
from floodgate.broker.envelopes import unpack_task
from tests.engine.queueing import GAP_MS, LANE, LEASE_MS, POOL, ROUTE, WORKER, Queue, lease, task_id
from tests.engine.scripts.test_running import bounded, counts, ids

NEW_POOL = "dec0de:a"
NEW_LANE = f"{NEW_POOL}:0"
NEW = "w2.a.5"
DAY_MS = 6_000_000
"""Of a budget: longer than any of these tests."""


@pytest.fixture
def reaped(queue: Queue) -> Queue:
    """A queue past the mercy of the first reap."""
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    return queue


def ask(queue: Queue, *names: str, budget_ms: int = DAY_MS, **task: object) -> None:
    queue.publish("c0ffee", **{f"r{ROUTE}": "same", "rother": "x"})
    assert queue.codes(*names, async_response=True, budget_ms=budget_ms, **task) == [0] * len(names)


def come(queue: Queue, digest: str = "same", lane: str = NEW_LANE) -> None:
    """Register a worker of another release."""
    queue.publish("dec0de", **{f"r{ROUTE}": digest})
    queue.register(NEW, lanes=[lane])


def reap(queue: Queue) -> None:
    queue.advance(1000)
    queue.reap()


def claimed(queue: Queue, serial: int = 1) -> list[str]:
    return queue.claimed(serial, consumer=NEW, lanes=[NEW_LANE], pool=NEW_POOL)


def test_they_are_run_by_another_release_that_agrees_about_the_route(reaped: Queue) -> None:
    ask(reaped, "1", "2", body=b"\x00body")
    reaped.leave()
    come(reaped)
    reap(reaped)
    assert (reaped.waiting(), reaped.marker(NEW_LANE)) == ([], 1)
    reply = reaped.claim(consumer=NEW, lanes=[NEW_LANE], pool=NEW_POOL)
    assert [task.id for task in reply.tasks] == ids("1", "2")
    task, before = unpack_task(reply.tasks[0].blob), unpack_task(reaped.request("1", async_response=True).blob)
    assert (task.lane, task.body, task.inbox, task.flow) == (NEW_LANE, b"\x00body", before.inbox, before.flow)
    reaped.complete(lease("1", consumer=NEW), lane=NEW_LANE)
    assert reaped.result(task_id("1")) == "done"


def test_until_somebody_agrees_they_keep_their_slots_and_nobody_else_waits_for_them(reaped: Queue) -> None:
    bounded(reaped)
    ask(reaped, "1", "2", "3")
    reaped.leave()
    come(reaped, "changed")
    reap(reaped)
    assert reaped.stranded() == set(ids("1", "2", "3")) == reaped.slots()
    assert reaped.codes("4", lane=NEW_LANE) == [0]
    assert reaped.waiting(NEW_LANE) == ids("4")
    assert "queued_since" not in reaped.statistics() or reaped.statistics()["queued_since"] == reaped.now_ms
    assert claimed(reaped) == ids("4")
    assert "last_completion_at" not in reaped.statistics()
    reap(reaped)
    assert reaped.stranded() == set(ids("1", "2", "3"))


def test_when_their_own_workers_come_back_they_run_them(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.leave()
    reap(reaped)
    assert reaped.stranded() == {task_id("1")}
    reaped.register()
    reap(reaped)
    assert (reaped.stranded(), reaped.claimed()) == (set(), ids("1"))


def test_no_more_run_than_may_when_both_releases_are_there(reaped: Queue) -> None:
    bounded(reaped)
    ask(reaped, "1", "2", "3", "4")
    reaped.leave()
    come(reaped, "changed")
    reap(reaped)
    assert reaped.codes("5", "6", "7", lane=NEW_LANE, budget_ms=DAY_MS) == [0, 0, 0]
    assert len(claimed(reaped)) == 2
    reaped.register()
    for _ in range(2):
        reaped.advance(1000)
        reaped.register()
        reaped.register(NEW, lanes=[NEW_LANE], leases=[lease(name, consumer=NEW) for name in "56"])
        reaped.reap()
    assert counts(reaped) == (2, 0, 5)
    reaped.complete(lease("5", consumer=NEW))
    assert len(reaped.waiting() + reaped.waiting(NEW_LANE)) == 1


def test_what_is_parked_is_stranded_when_its_turn_comes_and_the_next_follows(reaped: Queue) -> None:
    bounded(reaped, 1)
    ask(reaped, "1", "2")
    reaped.claim()
    reaped.leave()
    come(reaped, "changed")
    reaped.codes("3", lane=NEW_LANE, budget_ms=DAY_MS)
    reaped.client.zadd(reaped.keys.parked(ROUTE), {task_id("3"): 9e9})
    reaped.complete(lease("1"))
    assert (reaped.stranded(), reaped.waiting(NEW_LANE), reaped.waiting()) == ({task_id("2")}, ids("3"), [])


def test_the_level_stays(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.leave()
    come(reaped, lane=f"{NEW_POOL}:5")
    reap(reaped)
    assert reaped.stranded() == {task_id("1")}
    come(reaped)
    reap(reaped)
    assert reaped.waiting(NEW_LANE) == ids("1")


def test_their_turn_is_the_present_of_the_new_pool(reaped: Queue) -> None:
    ask(reaped, "1", "2")
    reaped.client.zadd(reaped.keys.of("waiting", LANE), {task_id("1"): 9e9, task_id("2"): 8e9})
    reaped.leave()
    come(reaped)
    reaped.client.zadd(reaped.keys.of("clock", NEW_POOL), {"": 5000})
    reap(reaped)
    assert reaped.waiting(NEW_LANE) == ids("2", "1")
    tags = reaped.tags(reaped.keys.of("waiting", NEW_LANE))
    assert all(5000 <= tag < 5001 for tag in tags)


def test_who_waits_on_a_connection_is_left_to_its_gateway(reaped: Queue) -> None:
    reaped.codes("1", budget_ms=DAY_MS)
    reaped.leave()
    come(reaped)
    reap(reaped)
    assert (reaped.waiting(), reaped.stranded()) == (ids("1"), set())


def test_nothing_is_stranded_in_the_grace_after_an_interruption(reaped: Queue) -> None:
    ask(reaped, "1")
    come(reaped)
    reaped.advance(GAP_MS)
    reaped.reap()
    reaped.leave()
    reap(reaped)
    assert reaped.waiting() == ids("1")
    for _ in range(3):
        come(reaped)
        reap(reaped)
    assert reaped.waiting(NEW_LANE) == ids("1")


def test_they_expire_and_say_so(reaped: Queue) -> None:
    ask(reaped, "1", budget_ms=3000)
    reaped.leave()
    reaped.pass_time(4000)
    assert reaped.result(task_id("1")) == "expired"
    assert reaped.slots() == reaped.stranded() == set()


def test_they_can_be_cancelled(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.leave()
    reap(reaped)
    assert reaped.cancel(task_id("1")) == [CancelCode.REMOVED]
    assert reaped.slots() == reaped.stranded() == set()


def test_a_batch_is_moved_at_once(reaped: Queue) -> None:
    ask(reaped, "1", "2", "3")
    reaped.leave()
    reap(reaped)
    come(reaped)
    reaped.advance(1000)
    assert [reaped.reap(batch=2).more, len(reaped.stranded())] == [True, 1]
    assert [reaped.reap(batch=2).more, len(reaped.stranded())] == [False, 0]


def test_a_release_stays_while_a_task_of_its_routes_does(reaped: Queue) -> None:
    ask(reaped, "1", budget_ms=20_000)
    reaped.leave()
    reaped.pass_time(15_000)
    assert reaped.client.hkeys(reaped.keys.releases()) == [b"c0ffee"]
    reaped.pass_time(6000)
    assert reaped.client.exists(reaped.keys.releases(), reaped.keys.of("unserved")) == 0


def test_but_not_for_longer_than_two_hours(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.leave()
    reap(reaped)
    since = reaped.client.zscore(reaped.keys.of("unserved"), "c0ffee") or 0
    reap(reaped)
    assert reaped.client.zscore(reaped.keys.of("unserved"), "c0ffee") == since == reaped.now_ms - 1000
    reaped.client.zadd(reaped.keys.of("unserved"), {"c0ffee": reaped.now_ms - 7_200_000})
    reap(reaped)
    assert reaped.client.exists(reaped.keys.releases(), reaped.keys.of("unserved")) == 0


def test_a_release_that_is_served_again_is_not_unserved(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.leave()
    reap(reaped)
    reaped.register()
    reap(reaped)
    assert reaped.client.exists(reaped.keys.of("unserved")) == 0


@pytest.mark.leaves_garbage
def test_garbage_among_them_is_dropped(reaped: Queue) -> None:
    ask(reaped, "1")
    reaped.client.zadd(
        reaped.keys.stranded(ROUTE), {"nonsense": 1, f"{LANE}#{task_id('9')}": "inf", f"{POOL}##": -1, "#": 5}
    )
    reaped.leave()
    reap(reaped)
    assert reaped.stranded() == {task_id("1")}
    assert reaped.cancel(task_id("1")) == [CancelCode.REMOVED]

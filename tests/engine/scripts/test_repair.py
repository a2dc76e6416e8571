"""repair: what has a wrong type is deleted, step by step; limits are exact and nothing is lost for ever after it."""

from __future__ import annotations

import contextlib

import pytest
from redis.exceptions import ResponseError

from floodgate.broker.keys import CATALOGUE
from tests.engine.leaks import leaks
from tests.engine.queueing import (
    LANE,
    LEASE_MS,
    POOL,
    ROUTE,
    START_MS,
    WORKER,
    Queue,
    lease,
    task_id,
)

PARTS = {
    "route": ROUTE,
    "route, tenant": f"{ROUTE}|a",
    "lane": LANE,
    "pool": POOL,
    "pool, route, weight": f"{POOL}|{ROUTE}|8",
    "group": ".a",
    "consumer": WORKER,
    "process": "box",
    "task": task_id("1"),
    "record": "k",
    "": "",
}
TYPES = {kind.name: kind.type for kind in CATALOGUE}
PER = {kind.name: kind.per for kind in CATALOGUE}
MINUTE = 60_000


def malformed(queue: Queue, name: str) -> str:
    """Put a value of a type that no key of ours has into a key that is in use, and return its name."""
    queue.client.delete(key := queue.keys.of(name, PARTS[PER[name]]))
    queue.client.geoadd(key, (0, 0, "x")) if TYPES[name] in ("string", "list") else queue.client.set(key, "garbage")
    return key.removeprefix(queue.keys.prefix)


def busy(queue: Queue) -> Queue:
    """Three tasks of a tenant, of which one runs and the others wait, one of them to be asked for later."""
    queue.declare(4, started_ms=START_MS)
    queue.ask(queue.request("1", tenant="a", async_response=True, budget_ms=3000))
    queue.admit("2", "3", tenant="a", budget_ms=3000)
    queue.claim(free=1)
    return queue


@pytest.mark.leaves_garbage
@pytest.mark.parametrize("name", [kind.name for kind in CATALOGUE])
def test_after_a_repair_limits_are_exact_and_nothing_is_lost_for_ever(queue: Queue, name: str) -> None:
    """Whatever failed meanwhile, half-way or not, the deadline ends it."""
    busy(queue)
    broken = malformed(queue, name)
    for attempt in (
        lambda: queue.admit("4", tenant="a", budget_ms=3000),
        lambda: queue.complete(lease("1")),
        lambda: queue.claim(2, free=1),
        lambda: queue.cancel(task_id("3")),
        queue.register,
        queue.reap,
    ):
        with contextlib.suppress(ResponseError):
            attempt()
    # what is written whole replaces it by itself
    assert queue.repair() == ([] if name in ("result", "repair") else [broken])
    queue.declare(4, started_ms=START_MS)
    queue.register()
    queue.pass_time(3000 + LEASE_MS, alive=[WORKER])
    assert queue.claimed(3) == []  # it drops what waits without a slot
    assert queue.slots() == queue.tasks() == queue.running() == set()
    assert queue.codes(*(f"9{i}" for i in range(5)), budget_ms=MINUTE).count(0) == 4
    assert [line for line in leaks(queue.client, queue.keys) if "tenant" not in line] == []


@pytest.mark.leaves_garbage
def test_what_is_only_counted_or_told_loses_no_answer(queue: Queue) -> None:
    for serial, name in enumerate(("tenant_inflight", "holders", "results", "control")):
        runs, next_one, waits = (f"{name}{n}" for n in "123")
        queue.ask(queue.request(runs, tenant="a", async_response=True))
        queue.claim(2 * serial, free=1)
        queue.admit(next_one, waits, tenant="a")
        malformed(queue, name)
        assert queue.complete(lease(runs, 2 * serial)) == [True]
        assert queue.result(task_id(runs)) == "done"
        assert queue.claimed(2 * serial + 1, free=1) == [task_id(next_one)]
        assert queue.cancel(task_id(next_one), task_id(waits)) == [2, 1]
        assert queue.complete(lease(next_one, 2 * serial + 1)) == [True]
        assert queue.slots() == set()
        assert queue.repair() == [queue.keys.of(name, PARTS[PER[name]]).removeprefix(queue.keys.prefix)]


@pytest.mark.leaves_garbage
@pytest.mark.parametrize("name", ["tenant_inflight", "turns", "holders", "slots", "statistics", "concurrency"])
def test_an_admission_that_fails_takes_no_slot(queue: Queue, name: str) -> None:
    busy(queue)
    before = queue.slots() if name != "slots" else set()
    malformed(queue, name)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        queue.ask(queue.request("4", tenant="a"), queue.request("5", tenant="b"))
    queue.repair()
    assert queue.slots() - {task_id(id) for id in "123"} == set()
    assert before <= queue.slots()


@pytest.mark.leaves_garbage
def test_slots_are_restored_from_the_tasks_of_their_route(queue: Queue) -> None:
    queue.declare(4, started_ms=START_MS)
    queue.declare(4, started_ms=START_MS, route="beef")
    queue.ask(queue.request("1"), queue.request("2"), queue.request("x", route="beef"))
    due = queue.client.zrange(queue.keys.slots(ROUTE), 0, -1, withscores=True)
    malformed(queue, "slots")
    queue.repair()
    assert queue.client.zrange(queue.keys.slots(ROUTE), 0, -1, withscores=True) == due
    assert len(queue.slots("beef")) == 1


@pytest.mark.leaves_garbage
def test_slots_and_tasks_of_a_wrong_type_are_deleted_in_any_order(queue: Queue) -> None:
    busy(queue)
    assert sorted([malformed(queue, "slots"), malformed(queue, "tasks")]) == sorted(queue.repair())


@pytest.mark.leaves_garbage
def test_what_has_its_type_or_is_not_in_the_catalogue_stays(queue: Queue) -> None:
    busy(queue)
    later = queue.keys.of("of_a_later_release", "x")
    other = queue.keys.prefix.replace("}", "x}") + "slots:a"
    before = queue.snapshot()
    queue.client.set(later, "1")
    queue.client.set(other, "of another namespace")
    assert queue.repair(step=1) == []
    assert queue.client.delete(later, other) == 2
    after = queue.snapshot()
    assert after.pop("repair").type == "string"
    assert after.keys() == before.keys()


def test_one_of_many_looks_once_in_a_period(queue: Queue) -> None:
    malformed(queue, "slots")
    assert queue.repair(MINUTE) == [f"slots:{ROUTE}"]
    malformed(queue, "slots")
    assert queue.repair(MINUTE) == []
    assert queue.repair(1) == [f"slots:{ROUTE}"] or queue.repair(1) == [f"slots:{ROUTE}"]
    assert 0 < queue.client.ttl(queue.keys.of("repair")) <= 60


@pytest.mark.leaves_garbage
def test_nothing_in_its_own_key_keeps_it_from_being_begun(queue: Queue) -> None:
    own = queue.keys.of("repair")
    for ttl_s in (3600, None):
        queue.client.delete(own)
        queue.client.rpush(own, "x")
        if ttl_s:
            queue.client.expire(own, ttl_s)
        malformed(queue, "slots")
        assert queue.repair(MINUTE) == [f"slots:{ROUTE}"]
        assert queue.client.type(own) == b"string"


@pytest.mark.leaves_garbage
def test_slots_that_reap_frees_are_answered_whatever_fails_after(queue: Queue) -> None:
    queue.admit("1", budget_ms=500)
    malformed(queue, "clock")
    queue.advance(1000)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        queue.reap()
    assert queue.replies() == [(task_id("1"), "expired")]

"""A script that ends in the middle of its writes: Redis does not take them back, so their order has to be harmless.

Each script is stopped before its first call, its second, and so on to its last; in the first ring, before each third.
What is left may be a slot until its deadline, and nothing worse.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.engine.leaks import leaks_in
from tests.engine.queueing import LANE, LEASE_MS, ROUTE, START_MS, WORKER, Queue, lease, task_id
from tests.engine.snapshot import ids

OTHER = "ba9876543210"
MOST_RUNNING = 2
STEP_MS = 2000
"""Shorter than a registration, and than the gap after which leases have a grace."""
FIRST_LINE = "local call, P = redis.call, KEYS[1]"
STOPPED = """local calls, P = 0, KEYS[1]
local function call(...)
  calls = calls + 1
  if calls == {at} then error('stopped here') end
  return redis.call(...)
end"""
TRIES = {"1": 2, "3": 2}

Action = Callable[[Queue], object]


def filled(client: Redis, namespace: str) -> Queue:
    """Two run (one detached), some wait or are parked, of which one has expired; two are a tenant's, one for nobody."""
    queue = Queue(client, namespace)
    queue.declare(9, started_ms=START_MS, max_running=MOST_RUNNING)
    queue.declare(9, route=OTHER)
    queue.register()
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    queue.measured(mean_ms=1, samples=20, completed=10_000, busy_ms=10_000)
    queue.ask(
        *(queue.request(name, tenant="t", tries=TRIES.get(name, 1)) for name in "13"),
        queue.request("2", async_response=True),
    )
    queue.claim(1, free=2)
    queue.ask(queue.request("4"), queue.request("5", budget_ms=100), queue.request("6", async_response=True))
    queue.ask(*(queue.request(name, route=OTHER) for name in "78"), queue.request("9", route=OTHER, budget_ms=100))
    queue.ask(queue.request("gone1", route=OTHER, inbox="gone"))
    queue.advance(200)
    queue.client.zadd(queue.keys.of("gateways"), {"gone": queue.now_ms})
    return queue


def late(queue: Queue) -> None:
    """Let leases, registrations and deadlines end unseen, but for too short a time for mercy."""
    queue.advance(2000)
    for known in queue.running():
        queue.client.zadd(queue.keys.of("running", ROUTE), {known: queue.now_ms - 1})
    queue.client.hset(queue.keys.reap(), "last", queue.now_ms - 1000)


def stranded(queue: Queue) -> None:
    """Let the workers leave, one task stand aside already, and others come that agree about the routes."""
    digests = {f"r{route}": "same" for route in (ROUTE, OTHER)}
    queue.publish("c0ffee", **digests)
    queue.release(lease("2"), started=False)
    queue.leave()
    queue.advance(1000)
    queue.reap()
    queue.ask(queue.request("b", async_response=True, lane="dec0de:a:0"))
    queue.publish("dec0de", **digests)
    queue.register("w2.a.5", lanes=["dec0de:a:0"])
    queue.advance(1000)


def lost(queue: Queue) -> None:
    """Lose tasks, so that there are dead letters."""
    queue.release(lease("1"), lease("3"), started=True)
    queue.release(*(lease(task.id.partition(".")[2], 2) for task in queue.claim(2).tasks), started=True)


def retried(queue: Queue) -> object:
    letter = queue.dead()[0]
    return queue.ask(queue.request("a", async_response=True), letter=letter.entry)


ACTIONS: dict[str, tuple[Action, Action]] = {
    "admit": (
        lambda q: None,
        lambda q: q.ask(q.request("a", tenant="t"), q.request("b", async_response=True), q.request("c", route=OTHER)),
    ),
    "admit of a dead letter": (lost, retried),
    "claim": (lambda q: q.complete(lease("1")), lambda q: q.claim(2)),
    "complete": (lambda q: q.cancel(task_id("3")), lambda q: q.complete(lease("1"), lease("3"))),
    "cancel": (lambda q: None, lambda q: q.cancel(task_id("1"), task_id("4"), task_id("7", OTHER))),
    "release": (lambda q: None, lambda q: q.release(lease("1"), lease("3"), started=True)),
    "reclaim": (lambda q: q.cancel(task_id("3")), lambda q: q.reclaim(0)),
    "renew": (lambda q: None, lambda q: q.register("w2.a.4")),
    "declare": (lambda q: None, lambda q: q.declare(9, started_ms=START_MS, max_running=1)),
    "reap": (late, lambda q: q.reap()),
    "reap of what is stranded": (stranded, lambda q: q.reap()),
}


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(redis_url)) as client:
        yield client


@pytest.mark.parametrize("script", ACTIONS)
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_script_that_stops_anywhere_costs_slots_until_their_deadline(
    client: Redis, namespace: str, script: str, every: int
) -> None:
    prepare, action = ACTIONS[script]
    for at in range(1, 500, every):
        queue = filled(client, f"{namespace}x{at}")
        prepare(queue)
        letters = len(queue.dead())
        stopped = Queue(client, f"{namespace}x{at}", ((script.partition(" ")[0], FIRST_LINE, STOPPED.format(at=at)),))
        stopped.took_over(queue)
        try:
            with pytest.raises(ResponseError, match="stopped here"):
                action(stopped)
        except pytest.fail.Exception:
            assert at > 4, "it was never stopped"
            recover(queue, f"{script} not stopped")
            return
        if prepare is lost:
            found = queue.snapshot()
            may_run = task_id("a") in ids(found, f"waiting:{LANE}") | ids(found, f"parked:{ROUTE}")
            assert not (len(queue.dead()) == letters and may_run), "what runs again can be run once more"
        recover(queue, f"{script} stopped at call {at}")
    raise AssertionError("it never ran to its end")


def recover(queue: Queue, when: str) -> None:
    """Let leases and deadlines pass; then nothing is left, nobody was answered twice, and work goes on."""
    for _ in range(10):
        queue.pass_time(STEP_MS, alive=[WORKER])
        with queue.client.pipeline(transaction=False) as both:
            both.zrange(queue.keys.of("waiting", LANE), 0, -1)
            both.zcard(queue.keys.of("running", ROUTE))
            waiting, running = both.execute()
        assert sum(id.startswith(ROUTE.encode()) for id in waiting) + running <= MOST_RUNNING, when
    found = queue.snapshot()
    # a bell gets its time to live in the next call, and between the two nothing can fail
    assert [line for line in leaks_in(found) if not line.startswith("control:")] == [], when
    for name in (
        f"slots:{ROUTE}",
        f"slots:{OTHER}",
        "tasks",
        "attempts",
        f"parked:{ROUTE}",
        f"tenant_inflight:{ROUTE}|t",
    ):
        assert ids(found, name) == set(), (when, name)
    assert all(count == 1 for count in Counter(id for id, _ in queue.replies()).values()), when
    assert queue.client.hget(queue.keys.of("concurrency"), "c0ffee:a:0") == b"10", when
    queue.take_marker()
    assert queue.codes("new", tenant="t") == [0], when
    assert queue.claimed(9) == [task_id("new")], when
    assert queue.complete(lease("new", 9)) == [True], when
    queue.client.unlink(*queue.client.scan_iter(match=f"{queue.keys.prefix}*", count=1000))

"""declare, admit, cancel: the arrows into the queue and out of it before a run."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from floodgate.broker.cancellation import CancelCode
from floodgate.broker.commands import AdmitCode
from floodgate.broker.decoding import read_releases
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.queueing import BUDGET_MS, LANE, POOL, ROUTE, START_MS, WORKER, Queue, admission, lease, task_id

OTHER = "ba9876543210"


def test_an_admission_takes_a_slot_and_lays_the_marker(queue: Queue) -> None:
    assert queue.codes("1", "2") == [AdmitCode.ADMITTED] * 2
    assert queue.slots() == queue.tasks() == {task_id("1"), task_id("2")}
    assert queue.waiting() == [task_id("1"), task_id("2")]
    assert queue.marker() == 1
    queue.admit("3")
    assert queue.marker() == 1


def test_never_more_in_flight_than_the_limit_within_a_batch_and_between(queue: Queue) -> None:
    reply = queue.admit("1", "2", "3", "4")
    assert [v.code for v in reply.results] == [AdmitCode.ADMITTED] * 3 + [AdmitCode.FULL]
    assert (reply.results[3].remember_ms, reply.results[3].retry_after_ms) == (150, 750)
    queue.claim()
    assert queue.codes("5") == [AdmitCode.FULL]
    queue.complete(lease("1"))
    assert queue.codes("6", "7") == [AdmitCode.ADMITTED, AdmitCode.FULL]


def test_a_ghost_past_its_validity_does_nothing(queue: Queue) -> None:
    reply = queue.admit("1", late_ms=-1)
    assert reply.stale
    assert reply.results == ()
    assert queue.slots() == queue.tasks() == set()
    assert queue.marker() == 0


def test_without_a_live_worker_nothing_is_admitted(queue: Queue) -> None:
    queue.advance(3000)
    assert queue.codes("1") == [AdmitCode.NO_WORKER]
    queue.register()
    assert queue.codes("1") == [AdmitCode.ADMITTED]
    queue.leave()
    assert queue.codes("2") == [AdmitCode.NO_WORKER]


def test_a_route_that_nobody_declared_is_not_admitted(queue: Queue) -> None:
    assert queue.codes("1", route=OTHER) == [AdmitCode.NO_WORKER]


def test_what_is_past_its_deadline_is_late(queue: Queue) -> None:
    assert queue.codes("1", budget_ms=0) == [AdmitCode.LATE]


def test_an_override_pauses_and_limits_until_it_goes(queue: Queue) -> None:
    statistics = queue.keys.statistics(ROUTE)
    queue.client.hset(statistics, "override", 0)
    assert queue.codes("1") == [AdmitCode.PAUSED]
    queue.client.hset(statistics, "override", 1)
    assert queue.codes("1", "2") == [AdmitCode.ADMITTED, AdmitCode.FULL]
    queue.client.hdel(statistics, "override")
    assert queue.codes("2") == [AdmitCode.ADMITTED]


def test_the_newest_start_sets_the_limit(queue: Queue) -> None:
    statistics = queue.keys.statistics(ROUTE)
    for started, limit, now in ((-9, 7, b"3"), (0, 5, b"5"), (-1, 9, b"5"), (0, 6, b"6")):
        queue.declare(limit, started_ms=START_MS + started)
        assert queue.client.hget(statistics, "limit") == now


def test_a_version_ahead_of_a_clock_that_stepped_back_locks_nobody_out(queue: Queue) -> None:
    queue.advance(-60_000)
    queue.declare(8, started_ms=START_MS - 60_001)
    assert queue.client.hget(queue.keys.statistics(ROUTE), "limit") == b"8"


def test_a_worker_declares_its_release(queue: Queue) -> None:
    queue.declare(release="c0ffee", digests={ROUTE: "aa", OTHER: "bb"})
    stored: Any = queue.client.hgetall(queue.keys.releases())
    assert read_releases(stored) == {"c0ffee": {ROUTE: "aa", OTHER: "bb"}}


def test_turns_are_taken_by_start_tag_not_by_age(queue: Queue) -> None:
    queue.declare(limit=9, route=OTHER)
    queue.declare(limit=9, started_ms=START_MS)
    queue.admit("a1", "a2", "a3", "a4")
    queue.admit("b1", route=OTHER)
    assert set(queue.claimed(free=2)) == {task_id("a1"), task_id("b1", OTHER)}


def test_a_dearer_route_gets_fewer_turns(queue: Queue) -> None:
    queue.declare(limit=9, route=OTHER)
    queue.declare(limit=9, started_ms=START_MS)
    queue.client.hset(queue.keys.statistics(ROUTE), mapping={"mean_ms": 100, "samples": 20})
    queue.admit("a1", "a2", "a3")
    queue.admit("b1", "b2", "b3", route=OTHER)
    first = queue.claimed(free=4)
    assert sorted(first) == sorted([task_id("a1"), *(task_id(f"b{i}", OTHER) for i in (1, 2, 3))])


def test_a_flow_that_was_idle_starts_at_the_virtual_time_and_not_before_it(queue: Queue) -> None:
    queue.declare(limit=9, route=OTHER)
    queue.declare(limit=9, started_ms=START_MS)
    queue.admit("a1", "a2", "a3", "a4", "a5", "a6")
    queue.claim(free=4)
    queue.admit("b1", "b2", "b3", "b4", route=OTHER)
    assert queue.waiting().index(task_id("a5")) <= 2


def test_what_waits_and_is_cancelled_never_runs(queue: Queue) -> None:
    queue.admit("1", "2")
    assert queue.cancel(task_id("1"), task_id("nobody")) == [CancelCode.REMOVED, CancelCode.UNKNOWN]
    assert queue.slots() == queue.tasks() == {task_id("2")}
    assert queue.claimed() == [task_id("2")]
    assert queue.cancel(task_id("1")) == [CancelCode.UNKNOWN]
    assert queue.replies() == []


def test_what_waits_again_after_a_try_says_so_when_it_is_removed(queue: Queue) -> None:
    queue.admit("1", tries=2)
    queue.claim()
    queue.release(lease("1"), started=True)
    assert queue.cancel(task_id("1")) == [CancelCode.REMOVED_AFTER_START]
    assert queue.client.exists(queue.keys.of("attempts")) == 0


def test_a_removed_task_gives_its_turn_back(queue: Queue) -> None:
    queue.admit("1")
    before = queue.client.zscore(queue.keys.of("clock", POOL), f"{ROUTE}|8|")
    queue.admit("2")
    queue.cancel(task_id("2"))
    assert queue.client.zscore(queue.keys.of("clock", POOL), f"{ROUTE}|8|") == before


def test_what_runs_and_is_cancelled_keeps_its_slot_until_its_handler_ends(queue: Queue) -> None:
    queue.admit("1")
    queue.claim()
    assert queue.cancel(task_id("1")) == [CancelCode.NOTIFIED]
    assert queue.client.lrange(queue.keys.control(WORKER), 0, -1) == [task_id("1").encode()]
    assert queue.slots() == {task_id("1")}
    assert queue.register(leases=[lease("1")]).cancelled == (lease("1"),)
    assert queue.complete(lease("1")) == [True]
    assert queue.slots() == queue.tasks() == set()
    assert queue.client.exists(queue.keys.of("attempts")) == 0
    assert queue.replies() == []


def test_a_full_redis_refuses_admissions_and_goes_on_with_everything_else(namespace: str) -> None:
    with EmbeddedServer() as server, contextlib.closing(Redis.from_url(server.url)) as client:
        queue = Queue(client, namespace)
        queue.declare(limit=9)
        queue.register()
        queue.admit("1", "2", "3", tries=2)
        client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            queue.admit("4")
        queue.declare(release="c0ffee")
        assert len(queue.claimed(free=2)) == 2
        queue.register(leases=[lease("1"), lease("2")])
        assert queue.cancel(task_id("3")) == [CancelCode.REMOVED]
        assert queue.complete(lease("1")) == [True]
        assert queue.release(lease("2"), started=False) == [True]
        assert queue.claimed(2) == [task_id("2")]
        assert queue.reclaim(1) == {lease("2", 2)}
        assert queue.reap().ran
        assert queue.slots() == {task_id("2")}


def test_two_kinds_of_one_route_share_its_slots(queue: Queue) -> None:
    lane = f"{POOL}:5"
    queue.register(lanes=[LANE, lane])
    assert queue.codes("1", "2") == [0, 0]
    assert queue.codes("3", "4", lane=lane) == [AdmitCode.ADMITTED, AdmitCode.FULL]
    assert queue.marker() == queue.marker(lane) == 1


def test_a_blob_begins_with_its_deadline(queue: Queue) -> None:
    assert admission(START_MS, "1").blob[:13] == str(START_MS + BUDGET_MS).encode()

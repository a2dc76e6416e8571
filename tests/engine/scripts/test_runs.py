"""claim, complete, renew, release, join: the arrows of a run, and who may take what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.queueing import BUDGET_MS, LANE, LEASE_MS, POOL, ROUTE, WORKER, Queue, lease, task_id

W2 = "w2.a.4"


def test_a_claim_leases_what_waits_and_hands_over_the_blob(queue: Queue) -> None:
    queue.admit("1", body=b"hello")
    reply = queue.claim()
    assert reply.registered
    assert [(t.id, t.attempts_used) for t in reply.tasks] == [(task_id("1"), 0)]
    assert b"hello" in reply.tasks[0].blob
    assert queue.waiting() == []
    assert queue.running() == {lease("1")}
    assert queue.slots() == {task_id("1")}


def test_a_ghost_claim_takes_nothing_and_leaves_the_marker(queue: Queue) -> None:
    queue.admit("1")
    queue.take_marker()
    assert queue.claimed(late_ms=-1) == []
    assert queue.waiting() == [task_id("1")]
    assert queue.marker() == 1


def test_who_is_not_registered_takes_nothing_and_is_told(queue: Queue) -> None:
    queue.admit("1")
    queue.take_marker()
    reply = queue.claim(consumer=W2)
    assert not reply.registered
    assert reply.tasks == ()
    assert queue.marker() == 1


def test_a_claim_takes_its_room_its_share_and_its_bytes(queue: Queue) -> None:
    queue.declare(limit=100, started_ms=queue.now_ms)
    queue.admit(*(str(i) for i in range(20)), body=b"x" * 1000)
    assert len(queue.claimed(1, free=3)) == 3
    queue.register(W2)
    assert len(queue.claimed(2, free=100)) == 9  # half of 17
    assert 1 <= len(queue.claimed(3, free=100, max_bytes=2100)) <= 3
    assert len(queue.claimed(4, max_bytes=1)) == 1
    assert queue.claimed(5, free=0) == []


def test_work_that_is_left_keeps_its_marker_and_an_empty_lane_gets_none(queue: Queue) -> None:
    queue.admit("1", "2")
    queue.take_marker()
    queue.claim(1, free=1)
    assert queue.marker() == 1
    queue.take_marker()
    queue.claim(2)
    assert queue.marker() == 0


def test_what_expired_while_it_waited_is_answered_and_not_run(queue: Queue) -> None:
    queue.admit("1", budget_ms=500)
    queue.admit("2")
    queue.advance(500)
    assert queue.claimed() == [task_id("2")]
    assert queue.slots() == queue.tasks() == {task_id("2")}
    assert queue.replies() == [(task_id("1"), "expired")]


def test_lanes_are_served_together_by_start_tag(queue: Queue) -> None:
    lanes = [LANE, f"{POOL}:3"]
    queue.register(lanes=lanes)
    queue.admit("1")
    queue.admit("2", lane=lanes[1])
    queue.admit("3")
    assert queue.claimed(free=2, lanes=lanes) == [task_id("1"), task_id("2")]
    assert queue.claimed(2, lanes=lanes) == [task_id("3")]


def test_a_completion_frees_the_slot_and_replies_once(queue: Queue) -> None:
    queue.admit("1", "2")
    queue.claim()
    assert queue.complete(lease("1"), lease("2")) == [True, True]
    assert queue.complete(lease("1"), lease("2")) == [False, False]
    assert queue.slots() == queue.tasks() == queue.running() == set()
    assert sorted(queue.replies()) == [(task_id("1"), "done"), (task_id("2"), "done")]
    assert 0 < queue.client.ttl(queue.keys.inbox("box")) <= 60


def test_a_completion_whose_lease_is_gone_changes_nothing(queue: Queue) -> None:
    queue.admit("1")
    queue.claim()
    queue.release(lease("1"), started=False)
    queue.claim(2)
    assert queue.complete(lease("1")) == [False]
    assert queue.slots() == {task_id("1")}
    assert queue.complete(lease("1", 2)) == [True]


def test_the_mean_follows_the_samples_and_a_late_run_counts_a_whole_budget(queue: Queue) -> None:
    statistics = queue.keys.statistics(ROUTE)

    def run(serial: int, **report: Any) -> tuple[float, int]:
        queue.admit(str(serial))
        queue.claim(serial)
        queue.complete(lease(str(serial), serial), **report)
        mean, seen = queue.client.hmget(statistics, "mean_ms", "samples")
        return float(mean or 0), int(seen or 0)

    assert run(1, sample=False) == (0, 0)
    assert run(2, run_ms=100) == (100, 1)
    assert run(3, run_ms=300) == (200, 2)
    mean, seen = run(4, run_ms=50, in_time=False, budget_ms=BUDGET_MS)
    assert mean == pytest.approx(200 + (BUDGET_MS - 200) / 3, rel=1e-4)
    assert seen == 3
    queue.client.hset(statistics, mapping={"mean_ms": 100, "samples": 20})
    assert run(5, run_ms=300) == (110, 20)


def test_renewal_extends_what_it_names_and_says_what_is_gone(queue: Queue) -> None:
    queue.admit("1", "2")
    queue.claim()
    queue.advance(1000)
    reply = queue.register(leases=[lease("1"), lease("9")])
    assert reply.gone == (lease("9"),)
    assert reply.cancelled == ()
    found: Any = queue.client.zrange(queue.keys.running(ROUTE), 0, -1, withscores=True)
    ends = dict(found)
    assert ends[lease("1").encode()] == queue.now_ms + LEASE_MS
    assert ends[lease("2").encode()] == queue.now_ms + LEASE_MS - 1000
    assert lease("9") not in queue.running()


def test_places_are_the_sum_over_the_lanes_claimers(queue: Queue) -> None:
    assert queue.client.hget(queue.keys.of("concurrency"), LANE) == b"10"
    assert queue.register(W2).joined
    assert queue.register(W2).joined  # nobody has published its release
    queue.publish(POOL.partition(":")[0])
    assert not queue.register(W2).joined
    assert queue.client.hget(queue.keys.of("concurrency"), LANE) == b"14"
    queue.leave()
    assert queue.client.hget(queue.keys.of("concurrency"), LANE) == b"4"


def test_leaving_ends_the_registration_and_rings_the_own_bell(queue: Queue) -> None:
    queue.leave()
    queue.client.hdel(queue.keys.of("concurrency"), "")
    assert queue.client.exists(queue.keys.serving(LANE), queue.keys.of("concurrency")) == 0
    assert queue.client.lrange(queue.keys.control(WORKER), 0, -1) == [b"leave"]
    assert 0 < queue.client.ttl(queue.keys.control(WORKER)) <= 60


def test_what_had_not_started_goes_back_uncounted(queue: Queue) -> None:
    queue.admit("1", tries=1)
    queue.claim()
    queue.take_marker()
    assert queue.release(lease("1"), started=False) == [True]
    assert queue.release(lease("1"), started=False) == [False]
    assert queue.running() == set()
    assert queue.slots() == {task_id("1")}
    assert queue.marker() == 1
    assert [(t.id, t.attempts_used) for t in queue.claim(2).tasks] == [(task_id("1"), 0)]


def test_what_had_started_goes_back_as_a_try(queue: Queue) -> None:
    queue.admit("1", tries=2)
    queue.claim()
    queue.release(lease("1"), started=True)
    assert [(t.id, t.attempts_used) for t in queue.claim(2).tasks] == [(task_id("1"), 1)]
    queue.release(lease("1", 2), started=True)
    assert queue.replies() == [(task_id("1"), "lost")]
    assert queue.slots() == queue.tasks() == set()


def test_a_started_task_without_tries_left_is_lost_with_a_copy(queue: Queue) -> None:
    queue.admit("1", tries=1)
    queue.claim()
    queue.release(lease("1"), started=True)
    assert queue.replies() == [(task_id("1"), "lost")]
    assert queue.slots() == queue.tasks() == set()
    assert queue.client.xlen(queue.keys.of("dead")) == 1
    assert queue.client.ttl(queue.keys.of("dead")) > 0


def test_what_goes_back_past_its_deadline_is_expired(queue: Queue) -> None:
    queue.admit("1", tries=2, budget_ms=1000)
    queue.claim()
    queue.advance(1000)
    queue.release(lease("1"), started=False)
    assert queue.replies() == [(task_id("1"), "expired")]
    assert queue.slots() == set()


def test_what_goes_back_and_is_not_wanted_ends_without_a_reply(queue: Queue) -> None:
    queue.admit("1", tries=2)
    queue.claim()
    queue.cancel(task_id("1"))
    queue.release(lease("1"), started=False)
    assert queue.replies() == []
    assert queue.slots() == queue.tasks() == set()


def test_a_claim_that_never_arrived_goes_back_uncounted_at_join(queue: Queue) -> None:
    queue.admit("1", "2", tries=1)
    queue.claim(1, free=1)
    queue.claim(2)
    assert queue.reclaim(1, lease("1")) == {lease("2", 2)}
    assert queue.waiting() == [task_id("2")]
    assert queue.running() == {lease("1")}
    assert queue.marker() == 1


def test_a_lease_whose_end_was_lost_counts_as_a_try_at_join(queue: Queue) -> None:
    queue.admit("post", tries=1)
    queue.admit("get", tries=2)
    queue.claim(1)
    queue.reclaim(1)
    assert queue.replies() == [(task_id("post"), "lost")]
    assert [(t.id, t.attempts_used) for t in queue.claim(2).tasks] == [(task_id("get"), 1)]


def test_join_leaves_other_claimers_alone(queue: Queue) -> None:
    queue.register(W2)
    queue.admit("1")
    queue.claim(1, consumer=W2)
    assert queue.reclaim(0) == set()
    assert queue.running() == {lease("1", consumer=W2)}

"""reap: what crashes leave is mended, with mercy when nobody could renew; garbage in any key ends nothing."""

from __future__ import annotations

import pytest

from tests.engine.queueing import (
    GAP_MS,
    LANE,
    LEASE_MS,
    PERIOD_MS,
    POOL,
    REGISTRATION_MS,
    ROUTE,
    START_MS,
    WORKER,
    Queue,
    lease,
    task_id,
)

W2 = "w2.a.4"


@pytest.fixture
def reaped(queue: Queue) -> Queue:
    """A queue that is being reaped, past the mercy of the first time."""
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    return queue


def test_only_one_of_many_reaps_in_a_period(reaped: Queue) -> None:
    assert not reaped.reap().ran
    reaped.advance(PERIOD_MS)
    assert reaped.reap().ran
    assert not reaped.reap().ran


def test_a_task_of_a_dead_worker_goes_to_another_as_a_try(reaped: Queue) -> None:
    reaped.admit("1", tries=2)
    reaped.claim()
    reaped.take_marker()
    reaped.pass_time(LEASE_MS, alive=[W2])
    assert reaped.running() == set()
    assert reaped.marker() == 1
    reply = reaped.claim(1, consumer=W2)
    assert [(t.id, t.attempts_used) for t in reply.tasks] == [(task_id("1"), 1)]


def test_a_post_of_a_dead_worker_is_lost_within_a_lease_and_a_second(reaped: Queue) -> None:
    reaped.admit("1", tries=1)
    reaped.claim()
    reaped.pass_time(LEASE_MS + 1000, alive=[W2])
    assert reaped.replies() == [(task_id("1"), "lost")]
    assert reaped.slots() == reaped.tasks() == set()


def test_a_lease_that_is_renewed_does_not_end(reaped: Queue) -> None:
    reaped.admit("1", budget_ms=60_000)
    reaped.claim()
    reaped.pass_time(4 * LEASE_MS, alive=[WORKER], leases=[lease("1")])
    assert reaped.running() == {lease("1")}


def test_what_waits_past_its_deadline_is_expired(reaped: Queue) -> None:
    reaped.admit("1", budget_ms=1500)
    reaped.pass_time(2000, alive=[WORKER])
    assert reaped.replies() == [(task_id("1"), "expired")]
    assert reaped.slots() == reaped.tasks() == set()
    assert reaped.waiting() == []


def test_what_overruns_its_deadline_keeps_its_slot_and_is_expired_when_its_worker_dies(reaped: Queue) -> None:
    reaped.admit("1", tries=2, budget_ms=1500)
    reaped.claim()
    reaped.pass_time(2000, alive=[WORKER], leases=[lease("1")])
    assert reaped.slots() == {task_id("1")}
    reaped.pass_time(LEASE_MS + 1000)
    assert reaped.replies() == [(task_id("1"), "expired")]
    assert reaped.slots() == set()


def test_a_stray_is_lost_at_its_deadline(reaped: Queue) -> None:
    reaped.admit("1", budget_ms=1500)
    reaped.client.zrem(reaped.keys.of("waiting", LANE), task_id("1"))
    reaped.pass_time(1000, alive=[WORKER])
    assert reaped.slots() == {task_id("1")}
    reaped.pass_time(1000, alive=[WORKER])
    assert reaped.replies() == [(task_id("1"), "lost")]
    assert reaped.slots() == reaped.tasks() == set()


def test_a_cancelled_run_of_a_dead_worker_ends_without_a_reply(reaped: Queue) -> None:
    reaped.admit("1", tries=2)
    reaped.claim()
    reaped.cancel(task_id("1"))
    reaped.pass_time(LEASE_MS + 1000)
    assert reaped.replies() == []
    assert reaped.slots() == reaped.tasks() == set()


@pytest.mark.parametrize("gap_ms", [GAP_MS + 1, 60_000, -60_000])
def test_no_lease_ends_for_one_lease_length_after_a_gap(reaped: Queue, gap_ms: int) -> None:
    reaped.admit("1", tries=1, budget_ms=600_000)
    reaped.claim()
    reaped.advance(gap_ms)  # frozen, restarted, failed over, or a clock that stepped
    reaped.reap()
    reaped.pass_time(LEASE_MS - 1000, alive=[W2])
    assert reaped.running() == {lease("1")}
    reaped.pass_time(2 * LEASE_MS, alive=[W2])
    assert reaped.running() == set()


def test_a_freeze_ends_no_lease_of_who_renews_after_it(reaped: Queue) -> None:
    reaped.admit("1", tries=1, budget_ms=600_000)
    reaped.claim()
    reaped.advance(LEASE_MS + 1000)
    reaped.reap()
    assert reaped.register(leases=[lease("1")]).gone == ()


def test_a_clock_that_steps_back_ends_no_lease(reaped: Queue) -> None:
    reaped.pass_time(20_000, alive=[WORKER])
    reaped.admit("1", tries=1, budget_ms=600_000)
    reaped.claim()
    reaped.advance(-10_000)
    reaped.client.zadd(reaped.keys.running(ROUTE), {lease("1"): reaped.now_ms - 1})
    reaped.reap()
    assert reaped.running() == {lease("1")}


def test_a_registration_that_ends_takes_its_places_with_it(reaped: Queue) -> None:
    reaped.register(W2)
    reaped.pass_time(4000, alive=[WORKER])
    assert reaped.client.zrange(reaped.keys.serving(LANE), 0, -1) == [WORKER.encode()]
    assert reaped.client.hget(reaped.keys.of("concurrency"), LANE) == b"10"


def test_a_registration_from_before_a_step_of_the_clock_ends_too(reaped: Queue) -> None:
    reaped.register(W2)
    reaped.advance(-60_000)
    reaped.pass_time(LEASE_MS + 1000, alive=[WORKER])
    assert reaped.client.zrange(reaped.keys.serving(LANE), 0, -1) == [WORKER.encode()]


def test_who_could_not_renew_stays_registered_for_one_registration_after_a_gap(reaped: Queue) -> None:
    reaped.advance(GAP_MS + REGISTRATION_MS)
    reaped.reap()
    assert reaped.codes("1", budget_ms=60_000) == [0]
    reaped.pass_time(REGISTRATION_MS - 1000)
    assert reaped.client.hget(reaped.keys.of("concurrency"), LANE) == b"10"
    reaped.pass_time(1000)
    assert reaped.client.hget(reaped.keys.of("concurrency"), LANE) is None


def test_a_registration_is_in_danger_sooner_than_a_lease(reaped: Queue) -> None:
    reaped.pass_time(2000)
    reaped.advance(1600)  # no gap for leases, and the registration would have ended
    reaped.reap()
    assert reaped.codes("1") == [0]


def test_who_takes_leave_is_gone_at_once_after_a_gap_too(reaped: Queue) -> None:
    reaped.register(W2)
    reaped.advance(4000)
    reaped.reap()
    reaped.leave(W2)
    assert reaped.client.hget(reaped.keys.of("concurrency"), LANE) == b"10"
    reaped.leave()
    assert reaped.codes("1") == [2]


def test_a_grace_is_bounded_when_the_clock_steps_back(reaped: Queue) -> None:
    reaped.client.hset(reaped.keys.reap(), "registration_grace_until", reaped.now_ms + 60_000)
    reaped.pass_time(1000, alive=[WORKER])
    assert (
        int(reaped.client.hget(reaped.keys.reap(), "registration_grace_until") or 0) <= reaped.now_ms + REGISTRATION_MS
    )


def test_a_marker_that_died_with_its_taker_is_laid_again(reaped: Queue) -> None:
    reaped.admit("1")
    reaped.take_marker()
    reaped.pass_time(1000, alive=[WORKER])
    assert reaped.marker() == 1


def test_a_release_is_forgotten_when_no_lane_of_it_is_served(reaped: Queue) -> None:
    reaped.declare(release="c0ffee", digests={ROUTE: "d"})
    reaped.pass_time(2 * LEASE_MS, alive=[WORKER])
    assert reaped.client.hkeys(reaped.keys.releases()) == [b"c0ffee"]
    reaped.pass_time(3 * LEASE_MS)
    assert reaped.client.hkeys(reaped.keys.releases()) == []


def test_an_idle_queue_keeps_no_clock_and_no_lane_that_nobody_serves(reaped: Queue) -> None:
    reaped.admit("1")
    reaped.claim()
    reaped.complete(lease("1"))
    reaped.pass_time(1000, alive=[WORKER])
    assert reaped.client.exists(reaped.keys.of("clock", POOL)) == 0
    reaped.pass_time(6000)
    assert reaped.client.exists(reaped.keys.lanes(), reaped.keys.of("concurrency"), reaped.keys.wake(LANE)) == 0


def test_flows_behind_the_virtual_time_are_trimmed(reaped: Queue) -> None:
    reaped.declare(limit=9, started_ms=START_MS)
    reaped.admit("1", "2", "3", "4")
    reaped.claim(free=2)
    reaped.client.zadd(reaped.keys.of("clock", POOL), {"old|8|": -5})
    reaped.pass_time(1000, alive=[WORKER])
    assert reaped.client.zscore(reaped.keys.of("clock", POOL), "old|8|") is None
    assert reaped.client.zscore(reaped.keys.of("clock", POOL), "") is not None


def test_a_small_batch_says_that_there_is_more_and_lets_the_next_reap_run(reaped: Queue) -> None:
    reaped.declare(limit=9, started_ms=START_MS)
    reaped.admit("1", "2", "3", budget_ms=500)
    reaped.advance(1000)
    assert [reaped.reap(batch=2).more, reaped.reap(batch=2).more] == [True, False]
    assert reaped.slots() == set()


# Garbage


@pytest.mark.leaves_garbage
@pytest.mark.parametrize(
    "blob",
    [b"", b"garbage", b"1790000010000", b"1790000010000\xc1", b"1790000010000\x98\x01\x02", b"\xff" * 40, b"9" * 14],
)
def test_a_task_that_cannot_be_read_is_dropped_counted_and_frees_its_slot(reaped: Queue, blob: bytes) -> None:
    reaped.admit("1", "2")
    reaped.client.hset(reaped.keys.of("tasks"), task_id("1"), blob)
    reply = reaped.claim()
    assert [t.id for t in reply.tasks] == [task_id("2")]
    assert reply.malformed == 1
    assert reaped.slots() == reaped.tasks() == {task_id("2")}


@pytest.mark.leaves_garbage
def test_entries_that_nobody_owns_are_dropped(reaped: Queue) -> None:
    keys, client = reaped.keys, reaped.client
    client.zadd(keys.of("waiting", LANE), {"nonsense": "-inf", task_id("9"): "inf"})
    client.zadd(keys.running(ROUTE), {"nonsense": 5, f"{WORKER}#x#{task_id('8')}": 5, "##": "inf"})
    client.zadd(keys.slots(ROUTE), {task_id("7"): 5, "nonsense": 6, task_id("6"): "inf"})
    client.hset(keys.reap(), mapping={"lease_grace_until": "garbage"})
    reaped.pass_time(1000, alive=[WORKER])
    reaped.claim()
    reaped.pass_time(3 * LEASE_MS, alive=[WORKER])
    assert reaped.running() == reaped.slots() == set()
    assert reaped.waiting() == []
    assert reaped.codes("1") == [0]
    assert reaped.claimed(2) == [task_id("1")]


def test_an_infinite_start_tag_ends_nobody_elses_turns(queue: Queue) -> None:
    queue.admit("1")
    queue.client.zadd(queue.keys.of("waiting", LANE), {task_id("1"): "inf"})
    assert queue.claimed() == [task_id("1")]
    queue.admit("2")
    assert (queue.client.zscore(queue.keys.of("waiting", LANE), task_id("2")) or 0) < 1e6


@pytest.mark.leaves_garbage
def test_garbage_in_the_fields_of_figures_is_read_as_absent(queue: Queue) -> None:
    queue.client.hset(queue.keys.statistics(ROUTE), mapping={"mean_ms": "x", "samples": "\xff", "override": "many"})
    assert queue.codes("1") == [0]
    queue.claim()
    assert queue.complete(lease("1"), run_ms=50) == [True]
    assert float(queue.client.hget(queue.keys.statistics(ROUTE), "mean_ms") or 0) == 50


@pytest.mark.leaves_garbage
def test_a_mark_that_is_no_number_never_gives_a_post_a_second_start(reaped: Queue) -> None:
    reaped.admit("1", tries=1)
    reaped.claim()
    reaped.client.hset(reaped.keys.of("attempts"), task_id("1"), "garbage")
    reaped.release(lease("1"), started=True)
    assert reaped.replies() == [(task_id("1"), "lost")]

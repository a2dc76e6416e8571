"""What waits for a gateway that is gone: it is dropped and not started, if it is certain that nobody waits for it."""

from __future__ import annotations

import pytest

from tests.engine.queueing import GAP_MS, LEASE_MS, WORKER, Queue, lease, task_id
from tests.engine.scripts.test_running import bounded

HERE, GONE = "here", "gone"


@pytest.fixture
def reaped(queue: Queue) -> Queue:
    """A queue past the mercy of the first reap."""
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    return queue


def there(queue: Queue, *gateways: str) -> None:
    for gateway in gateways:
        queue.reap(gateway=gateway)


def time_for(queue: Queue, ms: int) -> None:
    queue.pass_time(ms, alive=[WORKER], gateways=[HERE])


def ask(queue: Queue, gateway: str, *names: str, **task: object) -> list[str]:
    """Ask for a gateway, and return the ids: they begin with its name."""
    named = [f"{gateway}{name}" for name in names]
    assert queue.codes(*named, inbox=gateway, **{"budget_ms": 60_000, **task}) == [0] * len(names)
    return [task_id(name) for name in named]


def all_gone(queue: Queue) -> None:
    """Let the gateway's presence end between two reaps, so that a claim comes first."""
    time_for(queue, LEASE_MS - 1000)
    queue.advance(990)
    queue.register()
    there(queue, HERE)
    queue.advance(20)


def test_a_claim_drops_what_waits_for_a_gateway_that_is_gone_and_tells_it(reaped: Queue) -> None:
    there(reaped, GONE)
    (gone,) = ask(reaped, GONE, "1")
    (here,) = ask(reaped, HERE, "1")
    all_gone(reaped)
    assert reaped.claimed() == [here]
    assert reaped.replies(GONE) == [(gone, "dropped")]
    assert reaped.slots() == reaped.tasks() == {here}


def test_until_its_presence_has_ended_it_is_started(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1")
    time_for(reaped, LEASE_MS - 1000)
    assert reaped.claimed() == gone


def test_a_gateway_without_a_record_is_there(reaped: Queue) -> None:
    gone = ask(reaped, GONE, "1")
    time_for(reaped, 3 * LEASE_MS)
    assert reaped.claimed() == gone


def test_a_gateway_that_only_calls_too_early_to_reap_is_there(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1")
    for _ in range(10):
        time_for(reaped, 1000)
        assert not reaped.reap(gateway=GONE).ran
    assert reaped.claimed() == gone


def test_a_result_that_can_be_fetched_is_worth_a_start(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1", async_response=True)
    time_for(reaped, 2 * LEASE_MS)
    assert reaped.claimed() == gone


def test_what_had_started_is_started_again(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1", tries=2)
    reaped.claim()
    reaped.release(lease(f"{GONE}1"), started=True)
    time_for(reaped, 2 * LEASE_MS)
    assert reaped.claimed(2) == gone


def test_what_runs_is_not_dropped(reaped: Queue) -> None:
    there(reaped, GONE)
    ask(reaped, GONE, "1")
    reaped.claim()
    reaped.pass_time(2 * LEASE_MS, alive=[WORKER], leases=[lease(f"{GONE}1")], gateways=[HERE])
    assert reaped.complete(lease(f"{GONE}1")) == [True]


def test_what_expired_says_so(reaped: Queue) -> None:
    there(reaped, GONE)
    (gone,) = ask(reaped, GONE, "1", budget_ms=LEASE_MS)
    all_gone(reaped)
    reaped.claim()
    assert reaped.replies(GONE) == [(gone, "expired")]


# Interruptions


def test_after_a_gap_nobody_is_gone_before_a_reap(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1")
    reaped.advance(LEASE_MS + GAP_MS)
    assert reaped.claimed() == gone


def test_after_a_gap_nobody_is_gone_for_one_lease(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1", "2")
    reaped.advance(2 * LEASE_MS)
    time_for(reaped, 1000)
    time_for(reaped, LEASE_MS - 1000)
    assert reaped.claimed(free=1) == gone[:1]
    time_for(reaped, 1000)
    assert reaped.claimed(2) == []
    assert reaped.replies(GONE) == [(gone[1], "dropped")]


def test_after_a_step_of_the_clock_nobody_is_gone_before_a_reap(reaped: Queue) -> None:
    time_for(reaped, 20_000)
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1")
    reaped.client.zadd(reaped.keys.of("gateways"), {GONE: reaped.now_ms - 20_000})
    reaped.advance(-10_000)
    assert reaped.claimed() == gone


# The reaper


def test_slots_come_free_when_nobody_claims(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1", "2")
    (here,) = ask(reaped, HERE, "1")
    time_for(reaped, LEASE_MS + 1000)
    assert reaped.slots() == {here}
    assert sorted(reaped.replies(GONE)) == [(id, "dropped") for id in gone]


def test_what_is_parked_is_dropped_and_the_next_follow(reaped: Queue) -> None:
    bounded(reaped)
    there(reaped, GONE)
    ask(reaped, GONE, "1", "2", "3")
    here = ask(reaped, HERE, "1", "2")
    time_for(reaped, LEASE_MS + 1000)
    assert reaped.slots() == set(here) == set(reaped.waiting())


def test_parked_behind_others_too(reaped: Queue) -> None:
    bounded(reaped)
    there(reaped, GONE)
    here = ask(reaped, HERE, "1", "2")
    ask(reaped, GONE, "1")
    time_for(reaped, LEASE_MS + 1000)
    assert reaped.slots() == set(here)


def test_more_than_a_batch_is_dropped_with_the_next_reap(reaped: Queue) -> None:
    there(reaped, GONE)
    ask(reaped, GONE, "1", "2", "3")
    all_gone(reaped)
    reaped.advance(980)
    reaped.register()
    assert [reaped.reap(batch=2).more, len(reaped.slots())] == [True, 1]
    assert [reaped.reap(batch=2).more, len(reaped.slots())] == [False, 0]


def test_not_before_the_grace_has_passed(reaped: Queue) -> None:
    there(reaped, GONE)
    gone = ask(reaped, GONE, "1")
    reaped.advance(2 * LEASE_MS)
    reaped.register()
    reaped.reap(gateway=HERE)
    time_for(reaped, LEASE_MS - 1000)
    assert reaped.slots() == set(gone)
    time_for(reaped, 2000)
    assert reaped.slots() == set()


def test_a_presence_is_remembered_for_two_hours(reaped: Queue) -> None:
    there(reaped, GONE)
    reaped.client.zadd(reaped.keys.of("gateways"), {"old": reaped.now_ms - 7_197_000})
    time_for(reaped, 1000)
    assert reaped.client.zscore(reaped.keys.of("gateways"), "old") is not None
    time_for(reaped, 3000)
    assert reaped.client.zscore(reaped.keys.of("gateways"), "old") is None


def test_a_presence_from_before_a_step_of_the_clock_ends(reaped: Queue) -> None:
    reaped.client.zadd(reaped.keys.of("gateways"), {GONE: reaped.now_ms + 3_600_000})
    time_for(reaped, 1000)
    assert (reaped.client.zscore(reaped.keys.of("gateways"), GONE) or 0) <= reaped.now_ms + 60_000

"""What is kept of a request with an `Idempotency-Key`, and what becomes of those who joined it."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from floodgate.broker.cancellation import CancelCode, CancelMode
from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import LEASE_MS, POOL, ROUTE, WORKER, Queue, lease, task_id
from tests.engine.scripts.keyed import ADMITTED, ENDED, JOINED, WINDOW_S, ask, is_known, kept, kept_outcome, run


@pytest.fixture
def reaped(queue: Queue) -> Queue:
    """A queue in which somebody reaps, so that leases end."""
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    return queue


# What is not kept, and what is


def test_what_expired_while_it_waited_is_told_to_all_and_not_kept(queue: Queue) -> None:
    ask(queue, "1.k", "2.k", budget_ms=500)
    queue.advance(500)
    assert queue.claimed() == []
    assert sorted(queue.replies()) == [(task_id("1.k"), "expired"), (task_id("2.k"), "expired")]
    assert ask(queue, "3.k") == [ADMITTED]


def test_what_is_reaped_while_it_waited_is_not_kept(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=500)
    queue.pass_time(1000, alive=[WORKER])
    assert queue.replies() == [(task_id("1.k"), "expired")]
    assert ask(queue, "2.k") == [ADMITTED]


def test_what_was_refused_is_not_known(queue: Queue) -> None:
    queue.leave()
    assert ask(queue, "1.k") == [AdmitCode.NO_WORKER]
    assert not is_known(queue)


def test_a_lost_run_is_told_again(reaped: Queue) -> None:
    ask(reaped, "1.k", "2.k")
    reaped.claim()
    reaped.pass_time(LEASE_MS + 1000)
    assert sorted(reaped.replies()) == [(task_id("1.k"), "lost"), (task_id("2.k"), "kept")]
    assert (ask(reaped, "3.k"), kept_outcome(reaped)) == ([ENDED], "lost")


def test_where_the_handler_says_so_a_lost_run_is_repeated(reaped: Queue) -> None:
    ask(reaped, "1.k", "2.k", retry=True)
    reaped.claim()
    reaped.pass_time(LEASE_MS + 1000, alive=[WORKER])
    assert sorted(reaped.replies()) == [(task_id("1.k"), "lost"), (task_id("2.k"), "lost")]
    assert ask(reaped, "3.k", retry=True) == [ADMITTED]


def test_an_answer_is_kept_where_lost_runs_are_repeated(queue: Queue) -> None:
    ask(queue, "1.k", retry=True)
    run(queue)
    assert ask(queue, "2.k", retry=True) == [ENDED]


def test_a_deadline_that_passed_while_it_ran_is_told_again(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=1000)
    queue.claim()
    queue.advance(1500)
    assert queue.release(lease("1.k"), started=True) == [True]
    assert (ask(queue, "2.k"), kept_outcome(queue)) == ([ENDED], "expired")


def test_where_the_handler_says_so_a_run_past_its_deadline_is_repeated(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=1000, retry=True)
    queue.claim()
    queue.advance(1500)
    queue.release(lease("1.k"), started=True)
    assert ask(queue, "2.k", retry=True) == [ADMITTED]


def test_what_ran_once_and_expired_while_it_waited_again_is_kept(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=1000, tries=2)
    queue.claim()
    queue.release(lease("1.k"), started=True)
    queue.advance(1500)
    assert queue.claimed(2) == []
    assert (ask(queue, "2.k"), kept_outcome(queue)) == ([ENDED], "expired")


def test_what_was_claimed_and_not_started_may_be_the_first_again(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=1000)
    queue.claim()
    queue.advance(1500)
    queue.release(lease("1.k"), started=False)
    assert ask(queue, "2.k") == [ADMITTED]


def test_what_ran_once_and_was_left_while_it_waited_again_is_lost(queue: Queue) -> None:
    ask(queue, "1.k", tries=2)
    queue.claim()
    queue.release(lease("1.k"), started=True)
    assert queue.cancel(task_id("1.k")) == [CancelCode.REMOVED_AFTER_START]
    assert (ask(queue, "2.k"), kept_outcome(queue)) == ([ENDED], "lost")


def test_a_completion_that_is_repeated_changes_no_record(queue: Queue) -> None:
    ask(queue, "1.k")
    run(queue)
    queue.client.delete(queue.keys.idempotency("k"))
    ask(queue, "2.k")
    assert queue.complete(lease("1.k")) == [False]
    assert ask(queue, "3.k") == [JOINED]


def test_a_task_that_ended_without_settling_its_record_is_lost(queue: Queue) -> None:
    """An older worker ended it, or a script stopped."""
    ask(queue, "1.k")
    queue.claim()
    queue.client.zrem(queue.keys.slots(ROUTE), task_id("1.k"))
    queue.client.hdel(queue.keys.of("tasks"), task_id("1.k"))
    assert (ask(queue, "2.k"), kept_outcome(queue)) == ([ENDED], "lost")
    queue.complete(lease("1.k"))


def test_what_nobody_can_read_any_more_is_lost_if_it_ran(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    queue.claim()
    queue.client.hdel(queue.keys.of("tasks"), task_id("1.k"))
    queue.release(lease("1.k"), started=True)
    assert queue.replies() == [(task_id("2.k"), "kept")]
    assert (ask(queue, "3.k"), kept_outcome(queue)) == ([ENDED], "lost")


def test_what_is_kept_ends_with_its_window(queue: Queue) -> None:
    ask(queue, "1.k")
    run(queue)
    left_ms: Any = queue.client.pttl(queue.keys.idempotency("k"))
    assert (WINDOW_S - 5) * 1000 < left_ms <= WINDOW_S * 1000
    assert set(queue.client.hgetall(queue.keys.idempotency("k"))) == {b"fingerprint", b"accepted", b"answer"}


def test_a_record_outlives_its_task(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=60_000)
    left_ms: Any = queue.client.pttl(queue.keys.idempotency("k"))
    assert left_ms > (WINDOW_S + 60 + 3600) * 1000


def test_an_admission_that_fails_leaves_no_record(queue: Queue) -> None:
    queue.client.set(queue.keys.of("clock", POOL), "garbage")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        ask(queue, "1.k")
    assert not is_known(queue)
    queue.client.delete(queue.keys.of("clock", POOL))
    assert ask(queue, "1.k") == [ADMITTED]


@pytest.mark.leaves_garbage
def test_a_record_of_a_wrong_type_loses_no_answer(queue: Queue) -> None:
    ask(queue, "1.k", "2.l")
    queue.claim()
    queue.client.set(queue.keys.idempotency("k"), "garbage")
    assert queue.complete(lease("2.l"), lease("1.k")) == [True, True]
    assert sorted(queue.replies()) == [(task_id("1.k"), "done"), (task_id("2.l"), "done")]
    assert queue.cancel(task_id("1.k"), task_id("2.l")) == [CancelCode.UNKNOWN] * 2
    assert queue.slots() == set()


# Memory


def test_the_bytes_of_what_is_kept_are_summed(queue: Queue) -> None:
    for name in ("1.k", "2.l"):
        ask(queue, name)
    queue.claim()
    queue.complete(lease("1.k"), lease("2.l"))
    sums: Any = queue.client.hvals(queue.keys.idempotency_bytes())
    assert sum(map(int, sums)) == 2 * (512 + len(b"done " + task_id("1.k").encode()))


def test_where_no_more_is_kept_a_new_key_is_refused_and_a_known_one_is_not(queue: Queue) -> None:
    ask(queue, "1.k")
    assert ask(queue, "2.k", "3.l", full=True) == [JOINED, AdmitCode.KEYS_FULL]
    run(queue)
    assert ask(queue, "4.k", full=True) == [ENDED]
    assert queue.slots() == set()


# 202


def test_a_202_is_answered_with_itself_while_it_waits_runs_and_afterwards(queue: Queue) -> None:
    assert ask(queue, "1.k", async_response=True) == [ADMITTED]
    assert (ask(queue, "2.k"), kept(queue).accepted) == ([ENDED], task_id("1.k"))
    queue.claim()
    assert (ask(queue, "3.k", async_response=True), kept(queue).accepted) == ([ENDED], task_id("1.k"))
    queue.complete(lease("1.k"))
    assert (ask(queue, "4.k"), kept(queue).accepted) == ([ENDED], task_id("1.k"))
    assert queue.result(task_id("1.k")) == "done"


def test_a_202_that_is_ended_by_its_client_before_it_ran_is_forgotten(queue: Queue) -> None:
    ask(queue, "1.k", async_response=True)
    assert queue.cancel(task_id("1.k"), mode=CancelMode.END) == [CancelCode.REMOVED]
    assert ask(queue, "2.k") == [ADMITTED]


def test_a_202_that_is_ended_by_its_client_while_it_runs_is_stopped_and_not_run_again(queue: Queue) -> None:
    ask(queue, "1.k", async_response=True)
    queue.claim()
    assert queue.cancel(task_id("1.k"), mode=CancelMode.END) == [CancelCode.NOTIFIED]
    assert queue.register(leases=[lease("1.k")]).cancelled == (lease("1.k"),)
    queue.complete(lease("1.k"))
    assert (ask(queue, "2.k"), kept(queue).accepted) == ([ENDED], task_id("1.k"))


# Lanes that nobody serves, and gateways that are gone


def test_what_is_moved_tells_those_who_joined_it_to_come_again(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    queue.leave()
    assert queue.cancel(task_id("1.k"), mode=CancelMode.MOVE) == [CancelCode.REMOVED]
    assert (queue.replies(), queue.slots(), is_known(queue)) == ([(task_id("2.k"), "again")], set(), False)


def test_a_joiner_moves_what_waits_where_nobody_serves(queue: Queue) -> None:
    ask(queue, "1.k", "2.k", "3.k")
    queue.leave()
    assert queue.cancel(task_id("2.k"), mode=CancelMode.MOVE) == [CancelCode.REMOVED]
    assert sorted(queue.replies()) == [(task_id("1.k"), "again"), (task_id("3.k"), "again")]


def test_a_joiner_moves_nothing_that_waits_where_somebody_serves(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    assert queue.cancel(task_id("2.k"), mode=CancelMode.MOVE) == [CancelCode.NOTIFIED]
    run(queue)
    assert sorted(queue.replies()) == [(task_id("1.k"), "done"), (task_id("2.k"), "kept")]


def test_what_runs_is_not_moved(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    queue.claim()
    queue.leave()
    assert queue.cancel(task_id("1.k"), mode=CancelMode.MOVE) == [CancelCode.NOTIFIED]
    queue.complete(lease("1.k"))
    assert sorted(queue.replies()) == [(task_id("1.k"), "done"), (task_id("2.k"), "kept")]


def test_what_waits_for_a_gateway_that_is_gone_runs_for_who_joined_it(reaped: Queue) -> None:
    reaped.reap(gateway="far")
    ask(reaped, "1.k", inbox="far", budget_ms=60_000)
    ask(reaped, "2.k", inbox="box")
    reaped.pass_time(LEASE_MS + 1000, alive=[WORKER], gateways=["box"])
    assert reaped.claimed() == [task_id("1.k")]
    reaped.complete(lease("1.k"), inbox="far")
    assert reaped.replies() == [(task_id("2.k"), "kept")]


def test_what_waits_for_gateways_that_are_gone_is_dropped_and_not_kept(reaped: Queue) -> None:
    for gateway in ("far", "away"):
        reaped.reap(gateway=gateway)
    ask(reaped, "1.k", inbox="far", budget_ms=60_000)
    ask(reaped, "2.k", inbox="away")
    reaped.pass_time(LEASE_MS + 1000, alive=[WORKER], gateways=["box"])
    assert reaped.claimed() == []
    assert reaped.replies("away") == [(task_id("2.k"), "dropped")]
    assert ask(reaped, "3.k") == [ADMITTED]


def test_what_is_parked_can_be_joined_and_left(queue: Queue) -> None:
    queue.declare(3, max_running=1, started_ms=queue.now_ms)
    ask(queue, "1.k", "2.l")
    assert queue.parked() == [task_id("2.l")]
    assert ask(queue, "3.l") == [JOINED]
    queue.cancel(task_id("2.l"), task_id("3.l"))
    assert (queue.parked(), queue.slots()) == ([], {task_id("1.k")})

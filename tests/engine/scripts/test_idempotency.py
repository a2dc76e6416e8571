"""Requests with an `Idempotency-Key`: who comes again, by whatever way, and who leaves. See `keyed` for the names."""

from __future__ import annotations

from floodgate.broker.cancellation import CancelCode, CancelMode
from floodgate.broker.commands import AdmitCode
from floodgate.broker.idempotency import AdmitKey
from tests.engine.queueing import Queue, lease, task_id
from tests.engine.scripts.keyed import ADMITTED, ENDED, JOINED, ask, is_known, kept, results, run

# Who comes again


def test_who_comes_while_it_waits_or_runs_joins_without_a_slot(queue: Queue) -> None:
    assert ask(queue, "1.k") == [ADMITTED]
    assert ask(queue, "2.k") == [JOINED]
    queue.claim()
    assert ask(queue, "3.k") == [JOINED]
    assert queue.slots() == queue.tasks() == {task_id("1.k")}
    queue.complete(lease("1.k"))
    assert sorted(queue.replies()) == [(task_id("1.k"), "done"), (task_id("2.k"), "kept"), (task_id("3.k"), "kept")]


def test_who_comes_afterwards_is_told_that_the_answer_is_kept(queue: Queue) -> None:
    ask(queue, "1.k")
    run(queue)
    assert ask(queue, "2.k") == [ENDED]
    assert kept(queue).answer == b"done " + task_id("1.k").encode()
    assert (queue.slots(), queue.waiting()) == (set(), [])


def test_twins_in_one_batch_run_once(queue: Queue) -> None:
    assert ask(queue, "1.k", "2.k", "3.k") == [ADMITTED, JOINED, JOINED]
    assert queue.claimed() == [task_id("1.k")]


def test_a_twin_in_the_batch_that_asks_for_something_else_is_refused(queue: Queue) -> None:
    keys = [AdmitKey(fingerprint, "box", 60, False, False, False) for fingerprint in "fg"]
    reply = queue.ask(queue.request("1.k"), queue.request("2.k"), key=keys)
    assert [result.code for result in reply.results] == [ADMITTED, AdmitCode.KEY_REUSED]


def test_a_twin_in_the_batch_of_a_202_is_answered_with_it(queue: Queue) -> None:
    assert ask(queue, "1.k", "2.k", async_response=True) == [ADMITTED, ENDED]


def test_what_comes_twice_in_a_batch_under_one_id_is_admitted_once(queue: Queue) -> None:
    assert ask(queue, "1.k", "1.k") == [ADMITTED, ADMITTED]
    assert queue.waiting() == [task_id("1.k")]
    run(queue)
    assert queue.replies() == [(task_id("1.k"), "done")]


def test_another_record_is_another_request(queue: Queue) -> None:
    assert ask(queue, "1.k", "2.l") == [ADMITTED, ADMITTED]


def test_a_key_that_was_sent_with_another_request_is_refused_whatever_became_of_that(queue: Queue) -> None:
    ask(queue, "1.k")
    assert ask(queue, "2.k", fingerprint="other") == [AdmitCode.KEY_REUSED]
    queue.claim()
    assert ask(queue, "2.k", fingerprint="other") == [AdmitCode.KEY_REUSED]
    queue.complete(lease("1.k"))
    assert ask(queue, "2.k", fingerprint="other") == [AdmitCode.KEY_REUSED]


def test_it_is_known_before_anything_is_refused(queue: Queue) -> None:
    assert ask(queue, "1.k", "2.l", "3.m") == [ADMITTED] * 3
    assert ask(queue, "4.k", "5.n") == [JOINED, AdmitCode.FULL]
    queue.declare(0, started_ms=queue.now_ms)
    assert ask(queue, "6.k", "7.o") == [JOINED, AdmitCode.PAUSED]
    queue.leave()
    assert ask(queue, "8.k") == [JOINED]


def test_a_joiner_hears_how_long_its_task_still_has(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=5000)
    queue.advance(1000)
    (joined,) = results(queue, "2.k", budget_ms=60_000)
    assert (joined.code, joined.wait_ms) == (JOINED, 4000)


def test_a_joiner_of_an_overrunning_task_has_no_time(queue: Queue) -> None:
    ask(queue, "1.k", budget_ms=1000)
    queue.claim()
    queue.advance(1500)
    (joined,) = results(queue, "2.k")
    assert (joined.code, joined.wait_ms) == (JOINED, 0)


def test_more_than_a_thousand_do_not_wait_for_one_answer(queue: Queue) -> None:
    ask(queue, "0.k")
    for first in range(1, 1001, 250):
        assert set(ask(queue, *(f"{first + i}.k" for i in range(250)))) == {JOINED}
    assert ask(queue, "1001.k") == [AdmitCode.KEY_IN_USE]
    assert ask(queue, "1000.k") == [JOINED]
    run(queue, "0.k")
    assert len(queue.replies()) == 1001


# The same request, sent again because its admission had no answer


def test_what_is_sent_again_under_its_id_is_admitted_once(queue: Queue) -> None:
    assert ask(queue, "1.k") == [ADMITTED]
    assert ask(queue, "1.k") == [ADMITTED]
    assert (queue.waiting(), len(queue.slots())) == ([task_id("1.k")], 1)
    queue.claim()
    assert ask(queue, "1.k") == [ADMITTED]
    queue.complete(lease("1.k"))
    assert ask(queue, "1.k") == [ENDED]
    assert queue.claimed(2) == []


def test_a_joiner_that_is_sent_again_is_told_once(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    assert ask(queue, "2.k") == [JOINED]
    run(queue)
    assert sorted(queue.replies()) == [(task_id("1.k"), "done"), (task_id("2.k"), "kept")]


# Who leaves


def test_when_the_last_one_leaves_what_waits_ends(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    assert queue.cancel(task_id("1.k")) == [CancelCode.NOTIFIED]
    assert queue.waiting() == [task_id("1.k")]
    assert queue.cancel(task_id("2.k")) == [CancelCode.REMOVED]
    assert (queue.slots(), queue.replies(), is_known(queue)) == (set(), [], False)
    assert ask(queue, "3.k") == [ADMITTED]


def test_a_joiner_that_leaves_takes_out_its_own_name(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    assert queue.cancel(task_id("2.k")) == [CancelCode.NOTIFIED]
    run(queue)
    assert queue.replies() == [(task_id("1.k"), "done")]


def test_a_run_goes_on_when_all_have_left_and_its_answer_is_kept(queue: Queue) -> None:
    ask(queue, "1.k", "2.k")
    queue.claim()
    assert queue.cancel(task_id("1.k"), task_id("2.k")) == [CancelCode.NOTIFIED] * 2
    assert queue.register(leases=[lease("1.k")]).cancelled == ()
    queue.complete(lease("1.k"))
    assert queue.replies() == []
    assert ask(queue, "3.k") == [ENDED]


def test_a_name_of_before_takes_nothing_out(queue: Queue) -> None:
    ask(queue, "1.k")
    queue.cancel(task_id("1.k"))
    ask(queue, "2.k")
    assert queue.cancel(task_id("1.k")) == [CancelCode.UNKNOWN]
    assert queue.cancel(task_id("1.k"), mode=CancelMode.MOVE) == [CancelCode.UNKNOWN]
    assert queue.waiting() == [task_id("2.k")]

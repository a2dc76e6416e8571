"""One answer per request; a POST starts at most once, an idempotent request up to `attempts` times."""

from __future__ import annotations

from tests.engine.queueing import LEASE_MS, Queue, lease, task_id

OTHER = "other.a.4"


def test_a_completion_that_is_repeated_answers_once(queue: Queue) -> None:
    queue.admit("1")
    queue.claim()
    assert queue.complete(lease("1")) == [True]
    assert queue.complete(lease("1")) == [False]
    assert len(queue.replies()) == 1


def test_a_post_whose_worker_died_is_lost_and_says_so(queue: Queue) -> None:
    queue.register(OTHER)
    queue.admit("1", tries=1)
    queue.claim()
    queue.pass_time(LEASE_MS + 2000, alive=[OTHER])
    assert queue.claimed(1, consumer=OTHER) == []
    assert queue.replies() == [(task_id("1"), "lost")]
    assert queue.slots() == set()


def test_what_a_leaving_worker_had_not_started_is_no_try(queue: Queue) -> None:
    queue.admit("1", tries=1)
    queue.claim()
    queue.release(lease("1"), started=False)
    assert queue.claimed(2) == [task_id("1")]


def test_a_task_that_expired_while_it_waited_is_answered_and_never_run(queue: Queue) -> None:
    queue.admit("1", budget_ms=500)
    queue.advance(501)
    assert queue.claimed() == []
    assert queue.replies() == [(task_id("1"), "expired")]
    assert queue.slots() == set()

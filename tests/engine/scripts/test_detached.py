"""Tasks that nobody waits for on a connection: their answers are kept, once, and for a while."""

from __future__ import annotations

import pytest

from floodgate.broker.cancellation import CancelCode
from floodgate.broker.results import Progress
from tests.engine.queueing import LEASE_MS, ROUTE, WORKER, Queue, lease, task_id
from tests.engine.scripts.test_running import bounded

RESULT_S = 60
"""What the inbox of these tasks asks for."""


def test_the_answer_of_a_detached_task_is_kept_and_sent(queue: Queue) -> None:
    queue.admit("1", async_response=True)
    assert queue.result(task_id("1")) is None
    queue.claim()
    queue.complete(lease("1"))
    assert queue.result(task_id("1")) == "done"
    assert 0 < queue.client.ttl(queue.keys.of("result", task_id("1"))) <= RESULT_S
    assert queue.replies() == [(task_id("1"), "done")]
    assert queue.slots() == queue.tasks() == set()


def test_a_task_that_somebody_waits_for_leaves_no_result(queue: Queue) -> None:
    queue.admit("1")
    queue.claim()
    queue.complete(lease("1"))
    assert queue.result(task_id("1")) is None


def test_a_completion_that_is_repeated_keeps_the_first_answer(queue: Queue) -> None:
    queue.admit("1", async_response=True)
    queue.claim()
    queue.complete(lease("1"))
    queue.client.delete(queue.keys.of("result", task_id("1")))
    assert queue.complete(lease("1")) == [False]
    assert queue.result(task_id("1")) is None


def test_a_completion_whose_task_went_elsewhere_keeps_nothing(queue: Queue) -> None:
    queue.admit("1", async_response=True, tries=2)
    queue.claim()
    queue.release(lease("1"), started=True)
    queue.complete(lease("1"))
    assert queue.result(task_id("1")) is None
    queue.claim(2)
    queue.complete(lease("1", 2))
    assert queue.result(task_id("1")) == "done"


def test_what_expired_while_it_waited_says_so(queue: Queue) -> None:
    queue.admit("1", "2", async_response=True, budget_ms=500)
    queue.advance(500)
    queue.claim(free=1)
    assert queue.result(task_id("1")) == "expired"
    queue.pass_time(1000, alive=[WORKER])
    assert queue.result(task_id("2")) == "expired"


def test_what_was_lost_says_so(queue: Queue) -> None:
    queue.admit("1", "2", async_response=True)
    queue.claim()
    queue.release(lease("1"), started=True)
    queue.reclaim(1)
    assert [queue.result(task_id(name)) for name in "12"] == ["lost", "lost"]


def test_a_dead_workers_task_is_lost_and_says_so(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    queue.admit("1", async_response=True, budget_ms=60_000)
    queue.claim()
    queue.pass_time(LEASE_MS + 1000)
    assert queue.result(task_id("1")) == "lost"


def test_a_stray_says_that_it_is_lost(queue: Queue) -> None:
    queue.admit("1", async_response=True, budget_ms=1500)
    queue.claim()
    queue.client.zrem(queue.keys.running(ROUTE), lease("1"))
    queue.pass_time(3000, alive=[WORKER])
    assert queue.result(task_id("1")) == "lost"


def test_what_is_cancelled_leaves_no_result(queue: Queue) -> None:
    queue.admit("1", "2", async_response=True)
    assert queue.cancel(task_id("1")) == [CancelCode.REMOVED]
    queue.claim()
    assert queue.cancel(task_id("2")) == [CancelCode.NOTIFIED]
    queue.complete(lease("2"))
    assert [queue.result(task_id(name)) for name in "12"] == [None, None]
    assert queue.replies() == []


def test_a_task_without_any_connection_keeps_its_result_and_sends_nothing(queue: Queue) -> None:
    queue.admit("1", async_response=True)
    queue.claim()
    queue.complete(lease("1"), inbox=f"={RESULT_S}=")
    assert queue.result(task_id("1")) == "done"
    assert not [name for name in queue.snapshot() if name.startswith("inbox:")]


def test_whoever_waits_for_a_large_answer_is_told_that_it_is_kept(queue: Queue) -> None:
    queue.reap(gateway="box")
    queue.admit("1", async_response=True)
    queue.claim()
    queue.complete(lease("1"))
    assert queue.result(task_id("1")) == "done"
    assert queue.replies() == [(task_id("1"), "kept")]


def test_what_expired_is_kept_and_told_likewise(queue: Queue) -> None:
    queue.reap(gateway="box")
    queue.admit("1", async_response=True, budget_ms=500)
    queue.advance(500)
    queue.claim()
    assert queue.result(task_id("1")) == "expired"
    assert queue.replies() == [(task_id("1"), "kept")]


# How far it is


def test_a_look_says_whether_it_waits_runs_or_has_ended(queue: Queue) -> None:
    bounded(queue, 1).admit("1", "2", async_response=True)
    assert [queue.poll(task_id(name)).progress for name in "123"] == [
        Progress.WAITING,
        Progress.WAITING,
        Progress.UNKNOWN,
    ]
    queue.claim()
    assert queue.poll(task_id("1")).progress is Progress.RUNNING
    queue.complete(lease("1"))
    ended = queue.poll(task_id("1"))
    assert (ended.progress, ended.result) == (Progress.ENDED, b"done " + task_id("1").encode())


def test_a_look_at_what_is_stranded_says_that_it_waits(queue: Queue) -> None:
    queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
    queue.admit("1", async_response=True, budget_ms=60_000)
    queue.leave()
    queue.pass_time(1000)
    assert queue.stranded() == {task_id("1")}
    assert queue.poll(task_id("1")).progress is Progress.WAITING


def test_a_look_at_what_was_told_to_stop_knows_nothing_of_it(queue: Queue) -> None:
    queue.admit("1", async_response=True)
    queue.claim()
    queue.cancel(task_id("1"))
    assert queue.poll(task_id("1")).progress is Progress.UNKNOWN


def test_a_look_changes_nothing(queue: Queue) -> None:
    queue.admit("1", async_response=True)
    before = queue.snapshot()
    queue.poll(task_id("1"))
    assert queue.snapshot() == before


@pytest.mark.leaves_garbage
def test_a_look_at_garbage_knows_nothing(queue: Queue) -> None:
    queue.client.hset(queue.keys.of("tasks"), task_id("1"), b"garbage")
    assert queue.poll(task_id("1")).progress is Progress.UNKNOWN


@pytest.mark.leaves_garbage
def test_garbage_in_the_place_of_a_result_is_replaced(queue: Queue) -> None:
    queue.client.rpush(queue.keys.of("result", task_id("1")), "garbage")
    queue.admit("1", async_response=True)
    queue.claim()
    assert queue.complete(lease("1")) == [True]
    assert queue.result(task_id("1")) == "done"


@pytest.mark.leaves_garbage
@pytest.mark.parametrize("inbox", ["=0=box", "=99999999999999999999=box", "==box", "=x=box", "="])
def test_an_inbox_that_cannot_be_read_frees_the_slot_all_the_same(queue: Queue, inbox: str) -> None:
    queue.admit("1", async_response=True)
    queue.claim()
    assert queue.complete(lease("1"), inbox=inbox) == [True]
    assert queue.slots() == queue.tasks() == set()


def test_a_batch_of_detached_and_other_tasks_is_answered_each_its_way(queue: Queue) -> None:
    queue.ask(queue.request("1", async_response=True), queue.request("2"))
    queue.claim()
    queue.complete(lease("1"), lease("2"))
    assert [queue.result(task_id(name)) for name in "12"] == ["done", None]
    assert sorted(queue.replies()) == [(task_id("1"), "done"), (task_id("2"), "done")]

"""A slot is the right of one task to be in the system. A route has `max_concurrency` of them."""

from __future__ import annotations

from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import Queue, lease, task_id

ADMITTED, FULL, NO_WORKER = int(AdmitCode.ADMITTED), int(AdmitCode.FULL), int(AdmitCode.NO_WORKER)


def test_what_fits_is_admitted_and_the_rest_is_refused_at_once(queue: Queue) -> None:
    assert queue.codes("1", "2", "3", "4", "5") == [ADMITTED, ADMITTED, ADMITTED, FULL, FULL]


def test_a_slot_is_held_while_a_task_waits_and_while_it_runs(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    queue.claim(free=2)
    assert len(queue.waiting()) == 1
    assert len(queue.running()) == 2
    assert queue.codes("4") == [FULL]


def test_the_end_of_a_run_frees_its_slot(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    queue.claim()
    queue.complete(lease("1"))
    assert queue.codes("4") == [ADMITTED]


def test_a_client_that_leaves_while_its_task_waits_frees_the_slot_at_once(queue: Queue) -> None:
    queue.admit("1", "2", "3")
    queue.cancel(task_id("2"))
    assert queue.codes("4") == [ADMITTED]


def test_nothing_is_admitted_that_nobody_would_run(queue: Queue) -> None:
    queue.leave()
    assert queue.codes("1") == [NO_WORKER]
    assert queue.slots() == set()


def test_an_admission_that_arrives_too_late_does_nothing(queue: Queue) -> None:
    assert queue.admit("1", late_ms=-1).stale
    assert queue.slots() == set()

"""Classes: how much of a route's room each may fill, and how often it is its turn. Ten places."""

from __future__ import annotations

import pytest

from floodgate.broker.commands import AdmitCode
from tests.engine.queueing import START_MS, Queue, task_id

FULL = AdmitCode.FULL


def limited(queue: Queue, limit: int) -> Queue:
    queue.declare(limit, started_ms=START_MS)
    return queue


@pytest.mark.parametrize(("share", "room"), [(1000, 20), (950, 19), (800, 16), (600, 12)])
def test_a_class_fills_its_share_of_the_limit(queue: Queue, share: int, room: int) -> None:
    limited(queue, 20)
    assert queue.codes(*(str(i) for i in range(21)), share=share) == [0] * room + [FULL] * (21 - room)


def test_a_lower_class_fills_less_of_the_limit(queue: Queue) -> None:
    limited(queue, 20)
    assert queue.codes(*(str(i) for i in range(15)), share=600) == [0] * 12 + [FULL] * 3
    queue.take_marker()
    assert queue.admitted(20, first=20) == 8


@pytest.mark.parametrize(("share", "ahead"), [(1000, 33), (950, 31), (800, 26), (600, 19)])
def test_a_class_may_wait_for_its_share_of_the_time(queue: Queue, share: int, ahead: int) -> None:
    limited(queue, 1000).admit("first")
    queue.measured(mean_ms=100, samples=20, completed=100, busy_ms=10_000)
    assert queue.admitted(60, share=share) == ahead - 1


def test_a_lower_class_may_wait_less_long(queue: Queue) -> None:
    limited(queue, 1000).admit("first")
    queue.measured(mean_ms=100, samples=20, completed=100, busy_ms=10_000)
    assert queue.admitted(60, share=600) == 19 - 1
    assert queue.admitted(60, first=60) == 33 - 19


def test_the_critical_pass_what_others_have_waiting(queue: Queue) -> None:
    limited(queue, 1000).measured(mean_ms=1000, samples=20, completed=100, busy_ms=10_000)
    queue.admitted(10, budget_ms=4000)
    queue.take_marker()
    queue.claim()
    bulk, critical = {"weight": 1, "share": 600}, {"weight": 64}  # ten places come free within a third of the slack
    assert queue.admitted(20, first=10, budget_ms=4000, **bulk) == 6
    assert queue.admitted(5, first=30, budget_ms=4000, **critical) == 5
    assert queue.codes("default", budget_ms=4000, weight=8, share=950) == [AdmitCode.LATE]
    assert queue.admitted(20, first=40, budget_ms=4000, **critical) == 4  # and one of the bulk is before all of them


def test_free_places_are_for_every_class(queue: Queue) -> None:
    limited(queue, 1000).measured(mean_ms=20_000, samples=20)
    assert queue.admitted(30, share=600) == 10


def test_a_class_of_less_than_one_slot_gets_one_when_nobody_is_there(queue: Queue) -> None:
    limited(queue, 1)
    assert queue.codes("1", "2", share=600) == [0, FULL]


def test_turns_go_by_weight(queue: Queue) -> None:
    limited(queue, 1000)
    queue.measured(mean_ms=64, samples=20)
    queue.ask(*(queue.request(f"b{i}", weight=1) for i in range(9)))
    queue.ask(*(queue.request(f"c{i}", weight=64) for i in range(9)))
    first = queue.claimed(free=10)
    assert sum(id.startswith(task_id("c")) for id in first) == 9
    assert first[0] == task_id("b0")

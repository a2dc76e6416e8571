"""The copies of lost tasks: which are kept, how much of each, and that they never take more memory than they may."""

from __future__ import annotations

from tests.engine.queueing import WORKER, Queue, lease, task_id


def lose(queue: Queue, *names: str, size: int = 0) -> None:
    for name in names:
        assert queue.codes(name, body=b"x" * size, tries=1) == [0]
        queue.claim()
        queue.release(lease(name), started=True)


def test_a_lost_task_is_kept_whole_with_its_tries(queue: Queue) -> None:
    blob = queue.request("1", body=b"x" * 10_000).blob
    lose(queue, "1", size=10_000)
    assert queue.dead() == [{"id": task_id("1").encode(), "attempts": b"1", "blob": blob}]
    assert 0 < queue.client.ttl(queue.keys.of("dead")) <= 604_800


def test_a_large_one_is_cut_and_says_so(queue: Queue) -> None:
    blob = queue.request("1", body=b"x" * 20_000).blob
    lose(queue, "1", size=20_000)
    (letter,) = queue.dead()
    assert letter["blob"] == blob[:16_384]
    assert letter["cut"] == str(len(blob)).encode()


def test_they_take_no_more_memory_than_they_may_and_the_last_ones_stay(queue: Queue) -> None:
    queue.advance(1000)
    queue.register()
    queue.reap(dead_bytes=1 << 20)
    names = [str(number) for number in range(70)]
    lose(queue, *names, size=100_000)
    assert 0 < (queue.client.memory_usage(queue.keys.of("dead"), samples=0) or 0) <= 1 << 20
    kept = [letter["id"].decode() for letter in queue.dead()]
    assert len(kept) > 40
    assert kept == [task_id(name) for name in names[-len(kept) :]]


def test_the_least_is_one(queue: Queue) -> None:
    queue.advance(1000)
    queue.register()
    queue.reap(dead_bytes=0)
    lose(queue, "1", "2")
    assert [letter["id"].decode() for letter in queue.dead()] == [task_id("2")]


def test_what_is_small_is_bounded_by_its_number(queue: Queue) -> None:
    for first in range(0, 800, 100):
        lose(queue, *(str(first + number) for number in range(100)))
    queue.pass_time(1000, alive=[WORKER])
    assert len(queue.dead()) == 780

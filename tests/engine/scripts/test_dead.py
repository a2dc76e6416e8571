"""The copies of lost tasks: which are kept, how much of each, how they end, and that each runs again once at most."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from floodgate.broker.commands import AdmitCode, AdmitRequest
from floodgate.broker.dead_letters import Letters, StoredLetter, discard_letter, entries_within, read_letters
from floodgate.broker.envelopes import pack_task, unpack_task
from tests.engine.queueing import LANE, ROUTE, WORKER, Queue, lease, task_id

WEEK_MS = 604_800_000
OTHER_WORKER = "w2.a.10"


def kept(queue: Queue, **options: Any) -> None:
    """Let the reaper say what may be kept."""
    queue.advance(1000)
    queue.register()
    queue.reap(**options)


def lose(queue: Queue, *names: str, size: int = 0) -> None:
    for name in names:
        assert queue.codes(name, body=b"x" * size, tries=1) == [0]
        queue.claim()
        queue.release(lease(name), started=True)


def confidential(queue: Queue, body: bytes = b"body", **more: Any) -> AdmitRequest:
    """Return a request with something in every part that a handler may read."""
    request = queue.request("1", body=body, tries=1)
    parts: dict[str, Any] = {"path": {"item": "17"}, "query": "q=1", "caller": "who", "claims": {"claim": "c"}, **more}
    task = dataclasses.replace(unpack_task(request.blob), headers=((b"h", b"v"),), **parts)
    return dataclasses.replace(request, blob=pack_task(task))


def lost(queue: Queue, request: AdmitRequest) -> StoredLetter:
    queue.ask(request)
    queue.claim()
    queue.release(lease("1"), started=True)
    (letter,) = queue.dead()
    return letter


def test_a_lost_task_is_kept_whole_with_its_attempts_and_workers(queue: Queue) -> None:
    kept(queue)
    queue.publish(LANE.partition(":")[0], **{f"r{ROUTE}": "d1", "rother": "d2"})
    request = confidential(queue, b"x" * 10_000)
    letter = lost(queue, request)
    assert letter.task == unpack_task(request.blob)
    assert (letter.task_id, letter.route, letter.lost_at_ms) == (task_id("1"), ROUTE, queue.now_ms)
    assert (letter.attempts, letter.workers, letter.signature) == (1, (WORKER,), "d1")
    assert (letter.cut, letter.size_bytes) == (False, len(request.blob))
    assert (letter.request_id, letter.caller, letter.path) == ("r", "who", {"item": "17"})
    assert 0 < queue.client.ttl(queue.keys.of("dead")) <= 604_800


def test_every_worker_that_was_lost_with_it_is_named(queue: Queue) -> None:
    queue.register(OTHER_WORKER)
    queue.admit("1", tries=2)
    queue.claim(consumer=OTHER_WORKER)
    queue.release(lease("1", consumer=OTHER_WORKER), started=True)
    (again,) = queue.claim(2).tasks
    assert again.attempts_used == 1
    queue.release(lease("1", 2), started=True)
    (letter,) = queue.dead()
    assert (letter.attempts, letter.workers) == (2, (OTHER_WORKER, WORKER))


def test_a_large_one_is_cut_and_says_so(queue: Queue) -> None:
    kept(queue)
    request = confidential(queue, b"x" * 20_000)
    letter = lost(queue, request)
    assert (letter.cut, letter.size_bytes, letter.task) == (True, len(request.blob), None)
    assert (letter.request_id, letter.caller, letter.path) == ("r", "who", {"item": "17"})
    assert (letter.query, letter.headers) == ("q=1", ((b"h", b"v"),))
    assert len(letter.body) > 8000
    assert not letter.body.strip(b"x")


def test_nothing_confidential_is_kept_where_none_may_be(queue: Queue) -> None:
    kept(queue, dead_bodies=False)
    letter = lost(queue, confidential(queue, b"secret"))
    assert (letter.cut, letter.task) == (True, None)
    assert (letter.query, letter.headers, letter.body) == ("", (), b"")
    assert (letter.request_id, letter.caller, letter.path) == ("r", "who", {"item": "17"})
    stored = b"".join(part for _, fields in entries(queue) for pair in fields.items() for part in pair)
    assert all(secret not in stored for secret in (b"q=1", b"secret", b"h\xc4", b"claim"))


def test_before_anybody_has_said_so_no_body_is_kept(queue: Queue) -> None:
    assert lost(queue, confidential(queue)).cut


def test_a_path_that_is_too_long_is_left_out(queue: Queue) -> None:
    letter = lost(queue, confidential(queue, path={"item": "x" * 2000}))
    assert (letter.request_id, letter.path) == ("r", {})


def test_they_take_no_more_memory_than_they_may_and_the_last_ones_stay(queue: Queue) -> None:
    kept(queue, dead_entries=entries_within(1 << 20))
    names = [str(number) for number in range(70)]
    lose(queue, *names[:35], size=16_000)
    lose(queue, *names[35:], size=100_000)
    assert 0 < (queue.client.memory_usage(queue.keys.of("dead"), samples=0) or 0) <= 1 << 20
    ids = [letter.task_id for letter in queue.dead()]
    assert len(ids) > 40
    assert ids == [task_id(name) for name in names[-len(ids) :]]


def test_the_least_is_one(queue: Queue) -> None:
    kept(queue, dead_entries=entries_within(0))
    lose(queue, "1", "2")
    assert [letter.task_id for letter in queue.dead()] == [task_id("2")]


def test_what_is_small_is_bounded_by_its_number(queue: Queue) -> None:
    for first in range(0, 800, 100):
        lose(queue, *(str(first + number) for number in range(100)))
    queue.pass_time(1000, alive=[WORKER])
    assert len(queue.dead()) == 780


def test_each_ends_after_seven_days_whatever_else_is_lost(queue: Queue) -> None:
    lose(queue, "1")
    queue.advance(WEEK_MS)
    queue.register()
    lose(queue, "2")
    queue.reap()
    assert len(queue.dead()) == 2
    queue.advance(1000)
    queue.reap()
    assert [letter.task_id for letter in queue.dead()] == [task_id("2")]


def test_a_clock_that_steps_back_loses_none(queue: Queue) -> None:
    lose(queue, "1")
    queue.advance(-10_000)
    queue.register()
    lose(queue, "2")
    assert [letter.task_id for letter in queue.dead()] == [task_id("1"), task_id("2")]


def test_a_task_that_a_crash_left_in_slots_only_is_kept_too(queue: Queue) -> None:
    queue.admit("1")
    queue.client.delete(queue.keys.of("waiting", LANE))
    queue.advance(10_000)
    queue.reap()
    assert [letter.task_id for letter in queue.dead()] == [task_id("1")]


@pytest.mark.leaves_garbage
def test_whatever_else_is_broken_a_lost_task_is_answered(queue: Queue) -> None:
    for number, key in enumerate(("releases", "reap", "dead")):
        queue.client.delete(queue.keys.of(key))
        queue.client.set(queue.keys.of(key), "of another type")
        lose(queue, str(number))
        assert (task_id(str(number)), "lost") in queue.replies()
    assert queue.slots() == set()


def test_they_are_read_in_pages_the_newest_first(queue: Queue) -> None:
    lose(queue, "1", "2", "3")
    first = read(queue, most=2)
    assert (first.count, [letter.task_id for letter in first.page]) == (3, [task_id("3"), task_id("2")])
    second = read(queue, before=first.page[-1].entry)
    assert (second.count, [letter.task_id for letter in second.page]) == (3, [task_id("1")])


def test_what_somebody_else_wrote_there_is_read_cut(queue: Queue) -> None:
    queue.client.xadd(queue.keys.of("dead"), dict.fromkeys(("id", "blob", "query", "other"), b"x" * 1000000))
    queue.client.expire(queue.keys.of("dead"), 60)
    (letter,) = queue.dead()
    assert (letter.task, letter.request_id, letter.attempts) == (None, "", 0)
    assert len(letter.task_id) == len(letter.query) == 16_384


def test_a_discarded_one_is_gone(queue: Queue) -> None:
    lose(queue, "1", "2")
    first, second = queue.dead()
    assert queue.send(discard_letter(queue.keys, first.entry))
    assert not queue.send(discard_letter(queue.keys, first.entry))
    assert queue.dead() == [second]


def test_a_retry_is_admitted_once_and_takes_the_letter_with_it(queue: Queue) -> None:
    lose(queue, "1", "2")
    first, second = queue.dead()
    assert again(queue, "3", first) is AdmitCode.ADMITTED
    assert queue.dead() == [second]
    assert again(queue, "4", first) is AdmitCode.GONE
    assert queue.slots() == {task_id("3")}
    assert queue.claimed(2) == [task_id("3")]


def test_a_refused_retry_leaves_the_letter_and_is_a_refusal_like_any_other(queue: Queue) -> None:
    lose(queue, "1")
    (letter,) = queue.dead()
    assert queue.codes("a", "b", "c") == [0, 0, 0]
    assert again(queue, "2", letter) is AdmitCode.FULL
    assert queue.dead() == [letter]
    assert queue.statistics()["refused"] == 1


def test_a_retry_that_comes_second_says_nothing_of_the_route(queue: Queue) -> None:
    lose(queue, "1")
    (letter,) = queue.dead()
    queue.send(discard_letter(queue.keys, letter.entry))
    assert again(queue, "2", letter) is AdmitCode.GONE
    assert "refused" not in queue.statistics()


def again(queue: Queue, name: str, letter: StoredLetter) -> AdmitCode:
    (result,) = queue.ask(queue.request(name, async_response=True), letter=letter.entry).results
    return result.code


def read(queue: Queue, **options: Any) -> Letters:
    return queue.send(read_letters(queue.keys, **options))


def entries(queue: Queue) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = queue.client.xrange(queue.keys.of("dead"))
    return list(found)

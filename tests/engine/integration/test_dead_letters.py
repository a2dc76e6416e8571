"""What operators do with dead letters, on engines that run: a lost POST is shown, run again once, or thrown away."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections import Counter
from typing import Annotated, Any

import pytest
from fastapi import Header
from redis.asyncio import Redis

from floodgate.broker.keys import Keys
from floodgate.errors import FloodgateError
from floodgate.gateway.dead_letters import DeadLetter, DeadLetters, NoSuchLetter, NotRetryable
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.testing import System, SystemFactory
from shared import Context, Resource, queued


def open_book() -> Counter[str]:
    raise RuntimeError("no test opens the real one")


Book = Annotated[Counter[str], Resource(open_book)]


@queued("/orders/{item}", 4, method="POST", timeout_s=8, async_timeout_s=20)
async def order(item: str, count: list[int], book: Book, ctx: Context, note: Annotated[str, Header()] = "") -> str:
    book[item] += 1
    return f"{item} {sum(count)} {note} {ctx.caller.id if ctx.caller else None} {ctx.attempt}"


@queued("/reads", 4, timeout_s=8)
async def reading(book: Book) -> int:
    book["read"] += 1
    return book["read"]


class Lost:
    """A system in which orders get lost, and what operators call."""

    def __init__(self, system: System, book: Counter[str]) -> None:
        self.system, self.book = system, book

    @property
    def letters(self) -> DeadLetters:
        return self.system.app.started_engine.dead_letters

    async def lose(self, item: str = "tea", body: bytes = b"[1, 2]", **headers: str) -> DeadLetter:
        async with self.system.lost(order):
            json_type = {"content-type": "application/json"}
            answer = await self.system.post(f"/orders/{item}", content=body, headers=json_type | headers)
        assert answer.status_code == 502
        return (await self.letters.list()).letters[0]

    async def answer_of(self, retried: Outcome) -> Any:
        assert retried.accepted, retried
        async with asyncio.timeout(10):
            while (answer := await self.system.get(f"/tasks/{retried.accepted}")).status_code == 202:
                await asyncio.sleep(0.02)
        return answer.json()


@pytest.fixture
async def lost(floodgate: SystemFactory) -> Any:
    book: Counter[str] = Counter()
    async with floodgate(__name__, overrides={open_book: lambda: book}, lease_s=0.5) as system:
        yield Lost(system, book)


async def test_a_lost_post_is_shown_with_all_that_was_sent(lost: Lost) -> None:
    listed = await lost.lose(note="urgent")
    assert (listed.route, listed.path, listed.attempts) == ("POST /orders/{item}", {"item": "tea"}, 1)
    assert (len(listed.workers), listed.not_retryable, listed.body) == (1, None, None)
    shown = await lost.letters.show(listed.error_id)
    assert shown.model_copy(update={"headers": (), "body": None, "query": None}) == listed
    assert shown.body == b"[1, 2]"
    assert ("note", "urgent") in shown.headers
    assert json.loads(shown.model_dump_json())["request_id"] == listed.request_id


async def test_a_retry_runs_once_and_its_answer_is_kept_like_that_of_a_202(lost: Lost) -> None:
    letter = await lost.lose(note="urgent")
    retried = await lost.letters.retry(letter.error_id)
    assert retried.accepted != letter.task_id
    assert await lost.answer_of(retried) == "tea 3 urgent None 1"
    assert lost.book == {"tea": 2}
    assert (await lost.letters.list()).count == 0
    with pytest.raises(NoSuchLetter):
        await lost.letters.retry(letter.error_id)


async def test_twice_retried_at_once_is_one_run(lost: Lost) -> None:
    letter = await lost.lose()
    results = await asyncio.gather(*(lost.letters.retry(letter.error_id) for _ in range(10)), return_exceptions=True)
    (retried,) = [result for result in results if isinstance(result, Outcome)]
    assert sum(isinstance(result, NoSuchLetter) for result in results) == 9
    await lost.answer_of(retried)
    assert lost.book == {"tea": 2}


async def test_a_retry_that_is_lost_is_a_letter_again(lost: Lost) -> None:
    letter = await lost.lose()
    async with lost.system.lost(order):
        retried = await lost.letters.retry(letter.error_id)
        async with asyncio.timeout(10):
            while not (found := await lost.letters.list()).letters:
                await asyncio.sleep(0.05)
    assert [letter.task_id for letter in found.letters] == [retried.accepted]
    assert found.letters[0].request_id == letter.request_id


async def test_a_storm_of_retries_is_refused_like_any_other_and_leaves_the_letters(lost: Lost) -> None:
    errors = [(await lost.lose(str(number))).error_id for number in range(2)]
    async with lost.system.full(order):
        refused = [await lost.letters.retry(error_id) for error_id in errors]
    assert {outcome.failure for outcome in refused} == {Failure.FULL}
    assert [letter.error_id for letter in (await lost.letters.list()).letters] == errors[::-1]
    for error_id in errors:
        await lost.answer_of(await lost.letters.retry(error_id))


async def test_the_routes_rate_and_full_results_refuse_it(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = await lost.lose()
    rate_limiter = lost.system.app.started_engine.dispatcher.rate_limiter
    rate_limiter.results_full = True
    assert (await lost.letters.retry(letter.error_id)).failure is Failure.RESULTS_FULL
    rate_limiter.results_full = False
    monkeypatch.setattr(rate_limiter, "over_rate", lambda _: Outcome(failure=Failure.RATE, retry_after_s=3))
    assert (await lost.letters.retry(letter.error_id)).failure is Failure.RATE
    assert (await lost.letters.list()).count == 1


async def test_what_is_discarded_is_gone(lost: Lost) -> None:
    letter = await lost.lose()
    await lost.letters.discard(letter.error_id)
    for gone in (lost.letters.discard, lost.letters.show, lost.letters.retry):
        with pytest.raises(NoSuchLetter):
            await gone(letter.error_id)
    assert (await lost.letters.list()).count == 0


async def test_what_is_no_error_id_is_no_letter(lost: Lost) -> None:
    for error_id in ("", "-", "+", "1", "1-1 x", "99999999999999999999-1", "(1-1", "1-1\n", "1-1"):
        for call in (lost.letters.discard, lost.letters.show, lost.letters.retry):
            with pytest.raises(NoSuchLetter):
                await call(error_id)


async def test_what_changed_is_refused_by_name_and_what_did_not_runs_in_another_release(lost: Lost) -> None:
    letter = await lost.lose()
    changed = changed_letters(lost.letters, "order", "0" * 12)
    reason = "POST /orders/{item}: its parameters or its result have changed since"
    with pytest.raises(NotRetryable, match=re.escape(reason)):
        await changed.retry(letter.error_id)
    assert [shown.not_retryable for shown in (await changed.list()).letters] == [reason]
    route = letter.task_id.partition(".")[0]
    with pytest.raises(NotRetryable, match=f"this release has no route {route}"):
        await changed_letters(lost.letters, "order", None).retry(letter.error_id)
    retried = await changed_letters(lost.letters, "reading", "0" * 12).retry(letter.error_id)
    assert await lost.answer_of(retried) == "tea 3  None 1"


async def test_a_cut_body_cannot_be_retried_and_says_so(lost: Lost) -> None:
    letter = await lost.lose(body=b"[" + b"1," * 10_000 + b"1]")
    assert letter.not_retryable == f"POST /orders/{{item}}: not all of it was kept ({letter.size_bytes} bytes)"
    with pytest.raises(NotRetryable, match="not all of it was kept"):
        await lost.letters.retry(letter.error_id)
    shown = await lost.letters.show(letter.error_id)
    assert shown.body is not None
    assert shown.body.startswith(b"[1,1,")
    assert (await lost.letters.list()).count == 1


async def test_nothing_confidential_is_kept_where_none_may_be(floodgate: SystemFactory) -> None:
    book: Counter[str] = Counter()
    async with floodgate(__name__, overrides={open_book: lambda: book}, dead_keep_body=False) as system:
        lost = Lost(system, book)
        letter = await lost.lose(note="urgent")
        shown = await lost.letters.show(letter.error_id)
        assert (shown.query, shown.headers, shown.body) == ("", [], b"")
        assert (shown.path, letter.request_id != "") == ({"item": "tea"}, True)
        with pytest.raises(NotRetryable, match="not all of it was kept"):
            await lost.letters.retry(letter.error_id)


async def test_a_handlers_exception_and_what_ran_out_of_time_are_no_letters(lost: Lost) -> None:
    assert (await lost.system.post("/orders/tea", json="no")).status_code == 422
    async with lost.system.late(order):
        assert (await lost.system.post("/orders/tea", json=[1])).status_code == 504
    async with lost.system.lost(reading):
        assert (await lost.system.get("/reads")).status_code == 200
    assert (await lost.letters.list()).count == 0


@pytest.mark.leaves_garbage
async def test_forged_letters_are_shown_as_what_they_are_and_never_run(
    lost: Lost, redis_url: str, namespace: str
) -> None:
    real = await lost.lose()
    forged: list[Any] = [
        {"id": b"\xff\xfe", "blob": b"\x00" * 100_000},
        {"nothing": "at all"},
        {"id": f"{real.task_id}", "attempts": "-1", "workers": b"\xff " * 5000, "blob": "1" * 13, "cut": "x"},
        {"id": "a.b", "path": b"\xc1", "rest": b"\xc6\xff\xff\xff\xff", "request_id": b"\xff"},
    ]
    async with Redis.from_url(redis_url) as client:
        stored: Any = await client.xrange(Keys(namespace).of("dead"))
        blob = stored[0][1][b"blob"]
        forged += [{"id": real.task_id, "blob": blob[:at]} for at in range(0, len(blob), 7)]
        for fields in forged:
            await client.xadd(Keys(namespace).of("dead"), fields)
        letters = (await lost.letters.list(most=100)).letters
        assert len(letters) == 1 + len(forged)
        for letter in letters[:-1]:
            (await lost.letters.show(letter.error_id)).model_dump_json()
            with pytest.raises(NotRetryable):
                await lost.letters.retry(letter.error_id)
        await lost.answer_of(await lost.letters.retry(real.error_id))
        assert lost.book == {"tea": 2}
        await client.delete(Keys(namespace).of("dead"))
        await client.set(Keys(namespace).of("dead"), "no stream")
        assert (await lost.letters.list()).count == 0
        with pytest.raises(FloodgateError):
            await lost.letters.retry(real.error_id)


def changed_letters(letters: DeadLetters, name: str, digest: str | None) -> DeadLetters:
    """Return what a gateway of another release has, in which one handler has another signature, or is not there."""
    handlers = letters._handlers.values()
    kept = [
        handler if handler.name != name else dataclasses.replace(handler, signature_digest=digest or "")
        for handler in handlers
        if handler.name != name or digest is not None
    ]
    other = DeadLetters.__new__(DeadLetters)
    other.__dict__ |= letters.__dict__
    other._release, other._handlers = "another", {handler.route: handler for handler in kept}
    return other

"""Requests with an `Idempotency-Key`, through the engines: one effect and one answer, whatever is cut on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from floodgate.broker.commands import Call
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DeclarationError, Unavailable
from floodgate.gateway import join
from floodgate.testing import System, SystemFactory
from shared import Caller, HTTPError, Idempotency, Reply, queued
from tests.engine.lost_admission import lose_next_admission

RUNS: list[str] = []
"""What the handlers did, in the process of the test."""


@queued("/orders/{shop}", 100, method="POST", timeout_s=8, idempotency=True)
async def order(shop: str, item: str, seconds: float = 0) -> Reply[dict[str, Any]]:
    RUNS.append(item)
    await asyncio.sleep(seconds)
    if item == "nothing":
        raise HTTPError(409, "out of stock")
    if item == "broken":
        raise ZeroDivisionError
    return Reply({"shop": shop, "item": item, "run": len(RUNS)}, status=201, headers={"x-run": str(len(RUNS))})


@queued("/notes", 2, method="PATCH", timeout_s=8, idempotency="public")
async def note(body: dict[str, Any]) -> int:
    RUNS.append("note")
    await asyncio.sleep(body.get("seconds", 0))
    return len(RUNS)


@queued("/later", 100, method="POST", timeout_s=8, async_timeout_s=20, idempotency=3600)
async def later(seconds: float = 0) -> int:
    RUNS.append("later")
    await asyncio.sleep(seconds)
    return len(RUNS)


@queued("/strict", 100, method="POST", idempotency=Idempotency(window_s=1, required=True))
async def strict() -> int:
    RUNS.append("strict")
    return len(RUNS)


@queued("/again", 100, method="POST", timeout_s=8, idempotency=Idempotency(retry_lost=True))
async def again() -> int:
    RUNS.append("again")
    return len(RUNS)


async def who_asks(request: Request) -> Caller | None:
    name = request.headers.get("x-caller")
    return None if name is None else Caller(name)


def build() -> FastAPI:
    return join(FastAPI(), identify=who_asks)


@pytest.fixture
async def system(floodgate: SystemFactory) -> AsyncIterator[System]:
    RUNS.clear()
    async with floodgate(__name__, gateway=build, lease_s=1) as running:
        running.headers["x-caller"] = "ann"
        yield running


def key(value: str = "k1", **more: str) -> dict[str, str]:
    return {"idempotency-key": value, **{name.replace("_", "-"): text for name, text in more.items()}}


def is_replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """Tell whether two answers are one: status, body, and the handler's headers."""
    parts = [(a.status_code, a.content, a.headers.get("x-run"), a.headers["content-type"]) for a in (first, second)]
    return parts[0] == parts[1]


def title(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return f"{answer.status_code} {answer.json()['title']}"


async def insist(system: System, method: str, url: str, name: str = "k1", **more: Any) -> httpx.Response:
    """Ask again after a 503, as clients do: a busy machine may be taken for a Redis that is away."""
    while (answer := await system.request(method, url, headers=key(name), **more)).status_code == 503:
        await asyncio.sleep(0.05)
    return answer


async def test_the_second_try_gets_the_kept_status_headers_and_body(system: System) -> None:
    first = await system.post("/orders/a?item=tea", headers=key())
    second = await system.post("/orders/a?item=tea", headers=key('"k1"'))
    assert (first.status_code, is_replayed(first), is_replayed(second)) == (201, False, True)
    assert same(first, second)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert RUNS == ["tea"]


@pytest.mark.parametrize(("item", "status"), [("nothing", 409), ("broken", 500)])
async def test_a_failure_of_the_handler_is_an_answer_too(system: System, item: str, status: int) -> None:
    answers = [await system.post(f"/orders/a?item={item}", headers=key()) for _ in range(2)]
    assert [(a.status_code, is_replayed(a)) for a in answers] == [(status, False), (status, True)]
    assert [item] == RUNS


async def test_whoever_comes_while_it_runs_gets_the_one_answer(system: System) -> None:
    url = "/orders/a?item=tea&seconds=0.3"
    answers = await asyncio.gather(*(insist(system, "POST", url) for _ in range(20)))
    assert all(same(answers[0], answer) for answer in answers)
    assert not all(map(is_replayed, answers))
    assert RUNS == ["tea"]


async def test_another_path_or_query_under_the_same_key_is_refused(system: System) -> None:
    await system.post("/orders/a?item=tea", headers=key())
    for url in ("/orders/b?item=tea", "/orders/a?item=coffee", "/orders/a?item=tea&seconds=0"):
        assert title(await system.post(url, headers=key())) == "422 Idempotency-Key is already used"
    assert RUNS == ["tea"]


async def test_another_body_under_the_same_key_is_refused_byte_for_byte(system: System) -> None:
    json = key(content_type="application/json")
    assert (await system.patch("/notes", content=b'{"a":1}', headers=json)).status_code == 200
    assert title(await system.patch("/notes", content=b'{"a": 1}', headers=json)).startswith("422")
    assert is_replayed(await system.patch("/notes", content=b'{"a":1}', headers=json))


async def test_keys_of_one_caller_are_invisible_to_another(system: System) -> None:
    url = "/orders/a?item=tea"
    answers = [await system.post(url, headers=key(x_caller=name)) for name in ("ann", "bob", "ann")]
    assert [is_replayed(answer) for answer in answers] == [False, False, True]
    assert RUNS == ["tea", "tea"]
    assert (await system.post("/orders/a?item=other", headers=key(x_caller="carl"))).status_code == 201


async def test_without_a_caller_the_header_is_refused_unless_the_route_is_public(system: System) -> None:
    del system.headers["x-caller"]
    assert title(await system.post("/orders/a?item=tea", headers=key())) == "400 Idempotency-Key without a caller"
    answers = [await system.patch("/notes", json={}, headers=key()) for _ in range(2)]
    assert [is_replayed(answer) for answer in answers] == [False, True]
    assert not is_replayed(await system.patch("/notes", json={}, headers=key(x_caller="ann")))


NO_KEYS = ("", '""', "a b", '"a', 'a"b', "a,b", "a" * 256, '"' + "a" * 256 + '"', "\x7f", '"a";b=1', '"\\a"')
KEYS = ("a" * 255, '"a b, c"', '"\\"\\\\"')


async def test_what_is_no_key_is_refused_and_what_is_one_is_taken(system: System) -> None:
    for value in NO_KEYS:
        answer = await system.post("/orders/a?item=tea", headers=key(value))
        assert title(answer) == "400 Malformed Idempotency-Key", value
    twice = await system.post("/orders/a?item=tea", headers=[*key("a").items(), *key("a").items()])
    assert title(twice) == "400 Malformed Idempotency-Key"
    assert RUNS == []
    for value in KEYS:
        answers = [await system.post("/orders/a?item=tea", headers=key(value)) for _ in range(2)]
        assert [is_replayed(answer) for answer in answers] == [False, True], value


async def test_a_route_may_want_the_header_and_forgets_a_key_at_the_end_of_its_window(system: System) -> None:
    assert title(await system.post("/strict")) == "400 Idempotency-Key is missing"
    assert [(await system.post("/strict", headers=key())).json() for _ in range(2)] == [1, 1]
    await asyncio.sleep(1.1)
    fresh = await system.post("/strict", headers=key())
    assert (fresh.json(), is_replayed(fresh)) == (2, False)


@pytest.mark.slow
async def test_whoever_asks_at_the_end_of_a_window_gets_one_of_both_answers(system: System) -> None:
    assert (await system.post("/strict", headers=key())).status_code == 200
    await asyncio.sleep(0.9)
    async with asyncio.timeout(5):
        answers: list[int] = []
        while len(set(answers) - {503}) < 2:
            found = await asyncio.gather(*(system.post("/strict", headers=key()) for _ in range(8)))
            answers += [answer.json() if answer.status_code == 200 else answer.status_code for answer in found]
    assert set(answers) <= {1, 2, 503}
    assert len(RUNS) == 2


async def test_without_the_header_each_request_runs(system: System) -> None:
    assert [(await system.post("/orders/a?item=tea")).json()["run"] for _ in range(2)] == [1, 2]


async def test_what_was_invalid_or_refused_is_not_kept(system: System) -> None:
    assert (await system.post("/orders/a", headers=key())).status_code == 422
    assert (await system.post("/orders/a?item=tea", headers=key())).status_code == 201
    async with system.full(again):
        assert (await system.post("/again", headers=key())).status_code == 503
    assert (await system.post("/again", headers=key())).status_code == 200


async def test_a_lost_worker_is_told_again(system: System) -> None:
    async with system.lost(order):
        first = await system.post("/orders/a?item=tea", headers=key())
    second = await system.post("/orders/a?item=tea", headers=key())
    assert [title(first), title(second)] == ["502 Worker lost"] * 2
    assert (is_replayed(first), is_replayed(second)) == (False, True)


@pytest.mark.slow
async def test_a_lost_worker_is_no_answer_where_the_handler_says_so(system: System) -> None:
    async with system.lost(again):
        assert title(await system.post("/again", headers=key())) == "502 Worker lost"
    second = await system.post("/again", headers=key())
    assert (second.status_code, is_replayed(second)) == (200, False)


async def test_a_deadline_that_passed_while_it_ran_is_told_again(system: System) -> None:
    async with system.late(order, timeout_s=0.3):
        first = await system.post("/orders/a?item=tea", headers=key())
        await asyncio.sleep(0.5)
    second = await system.post("/orders/a?item=tea", headers=key())
    assert [title(first), title(second)] == ["504 Deadline exceeded"] * 2
    assert is_replayed(second)


async def test_a_run_outlives_its_clients_and_answers_the_next_try(system: System) -> None:
    url = "/orders/a?item=tea&seconds=0.6"
    leaving = [asyncio.create_task(system.post(url, headers=key())) for _ in range(2)]
    await asyncio.sleep(0.2)
    for task in leaving:
        task.cancel()
    await asyncio.sleep(0.1)
    joined = await system.post(url, headers=key())
    assert (joined.status_code, RUNS) == (201, ["tea"])
    assert is_replayed(await system.post(url, headers=key()))


@pytest.mark.slow
async def test_a_joiner_has_a_deadline_of_its_own(system: System) -> None:
    url = "/orders/a?item=tea&seconds=2.5"
    first = asyncio.create_task(system.post(url, headers=key()))
    await asyncio.sleep(0.2)
    joiner = await system.post(url, headers=key(prefer="wait=1"))
    assert title(joiner) == "504 Deadline exceeded"
    assert (await first).status_code == 201
    assert RUNS == ["tea"]


async def test_joiners_take_no_slot(system: System) -> None:
    waiting = [asyncio.create_task(insist(system, "PATCH", "/notes", json={"seconds": 0.5})) for _ in range(9)]
    await asyncio.sleep(0.2)
    other = await insist(system, "PATCH", "/notes", "k2", json={})  # of two places
    assert other.status_code == 200
    assert len({answer.text for answer in await asyncio.gather(*waiting)}) == 1
    assert RUNS == ["note", "note"]


async def test_a_202_is_answered_with_the_same_202(system: System) -> None:
    url, wants = "/later?seconds=0.3", key(prefer="respond-async")
    first = await system.post(url, headers=wants)
    for headers in (wants, key()):
        second = await system.post(url, headers=headers)
        assert (second.status_code, second.headers["location"]) == (202, first.headers["location"])
        assert is_replayed(second)
    await asyncio.sleep(0.6)
    third = await system.post(url, headers=wants)
    assert (third.status_code, third.headers["location"]) == (202, first.headers["location"])
    assert (await system.get(first.headers["location"])).json() == 1
    assert RUNS == ["later"]


async def test_a_joiner_that_would_not_wait_waits_for_the_answer_all_the_same(system: System) -> None:
    first = asyncio.create_task(system.post("/later?seconds=0.4", headers=key()))
    await asyncio.sleep(0.2)
    second = await system.post("/later?seconds=0.4", headers=key(prefer="respond-async"))
    assert (second.status_code, second.json()) == (200, 1)
    assert (await first).json() == 1


async def test_its_own_202_is_its_own_where_it_waits_for_it(system: System) -> None:
    answer = await system.post("/later", headers=key(prefer="respond-async, wait=5"))
    assert (answer.status_code, answer.json(), is_replayed(answer)) == (200, 1, False)


@pytest.mark.parametrize("executed", [True, False])
async def test_an_admission_whose_answer_was_lost_is_sent_again_and_runs_once(
    system: System, monkeypatch: pytest.MonkeyPatch, executed: bool
) -> None:
    run = Pipeline.run

    async def deaf(pipeline: Pipeline, call: Call[Any], timeout_s: float) -> Any:
        if call.script.name == "admit":
            monkeypatch.undo()
            if executed:
                await run(pipeline, call, timeout_s)
            await pipeline.close()
            raise Unavailable("its answer is lost")
        return await run(pipeline, call, timeout_s)

    monkeypatch.setattr(Pipeline, "run", deaf)
    answer = await system.post("/orders/a?item=tea&seconds=0.2", headers=key())
    assert answer.status_code == 201, answer.text
    assert RUNS == ["tea"]
    assert is_replayed(await system.post("/orders/a?item=tea&seconds=0.2", headers=key()))


async def test_a_joiner_whose_admission_was_not_heard_of_gets_the_answer(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "/orders/a?item=tea&seconds=1"
    first = asyncio.create_task(system.post(url, headers=key()))
    await asyncio.sleep(0.3)
    lose_next_admission(monkeypatch)
    second = await system.post(url, headers=key())
    assert same(await first, second)
    assert RUNS == ["tea"]


@pytest.mark.slow
async def test_joiners_that_wait_long_are_asked_after_and_stay(system: System) -> None:
    """The reconciler finds them in the record, where they have no slot."""
    url = "/orders/a?item=tea&seconds=4"
    answers = await asyncio.gather(*(system.post(url, headers=key()) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {201}


@pytest.mark.slow
async def test_what_is_moved_off_a_lane_is_admitted_again_with_those_who_joined_it(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    RUNS.clear()
    url = "/orders/a?item=tea"
    async with floodgate(__name__, gateway=build, worker_concurrency=1) as system:
        system.headers["x-caller"] = "ann"
        await asyncio.sleep(1)  # the grace of the start
        busy = asyncio.create_task(system.post("/orders/a?item=busy&seconds=2.5"))
        await asyncio.sleep(0.2)
        waiting = [asyncio.create_task(system.post(url, headers=key())) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert system.app.engine
        dispatcher = system.app.engine.dispatcher
        names = {pending.id for pending in dispatcher.waiting() if pending.payload.options.record}
        with monkeypatch.context() as patched:
            patched.setattr(system.app.engine._directory, "serves", lambda lane: False)
            await dispatcher.move_stranded()
            await asyncio.sleep(0.2)
        moved = {pending.id for pending in dispatcher.waiting() if pending.payload.options.record}
        assert len(moved) == 5
        assert not names & moved
        answers = await asyncio.gather(*waiting)
        assert (await busy).is_success
    assert all(same(answers[0], answer) for answer in answers)
    assert RUNS == ["busy", "tea"]


@pytest.mark.slow
async def test_beyond_the_bound_a_new_key_is_refused_before_it_runs(floodgate: SystemFactory) -> None:
    RUNS.clear()
    async with floodgate(__name__, gateway=build, idempotency_max_bytes=1000) as system:
        system.headers["x-caller"] = "ann"
        for i in range(3):
            assert (await system.post("/orders/a?item=tea", headers=key(f"k{i}"))).status_code == 201
        await asyncio.sleep(1.2)
        refused = await system.post("/orders/a?item=tea", headers=key("k9"))
        assert title(refused) == "503 Keys full"
        assert is_replayed(await system.post("/orders/a?item=tea", headers=key("k0")))
        assert (await system.post("/orders/a?item=tea")).status_code == 201
    assert len(RUNS) == 4


async def test_the_document_shows_the_header_and_its_answers(system: System) -> None:
    operation = (await system.get("/openapi.json")).json()["paths"]["/strict"]["post"]
    (header,) = [p for p in operation["parameters"] if p["in"] == "header"]
    assert (header["name"], header["required"]) == ("Idempotency-Key", True)
    assert {"400", "409", "422"} <= operation["responses"].keys()
    assert "409" not in (await system.get("/openapi.json")).json()["paths"]["/tasks/{task_id}"]["get"]["responses"]


def test_an_application_that_does_not_know_who_asks_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOODGATE_HANDLERS", __name__)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("FLOODGATE_NAMESPACE", "nobody")
    with pytest.raises(DeclarationError, match="identify"):
        join(FastAPI())

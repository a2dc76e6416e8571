"""The kit does to handlers what it says: the whole path, overrides, and each fault for real."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import pytest

from floodgate.testing import Function, SystemFactory
from shared import Context, HTTPError, Resource, queued


class Ledger:
    """What handlers write into."""

    def __init__(self) -> None:
        self.lines: list[str] = []


def open_ledger() -> Ledger:
    raise RuntimeError("no test opens the real one")


Book = Annotated[Ledger, Resource(open_ledger)]


@queued("/kit/notes", 3, method="POST", timeout_s=20)
async def note(line: str, book: Book, ctx: Context) -> int:
    book.lines.append(f"{line} {ctx.attempt}")
    return len(book.lines)


@queued("/kit/notes", 300, method="PUT", timeout_s=20)
def put(line: str, book: Book, ctx: Context) -> int:
    if line == "nothing":
        raise HTTPError(409, "nothing to write")
    book.lines.append(f"{line} {ctx.attempt}")
    return len(book.lines)


@queued("/kit/naps", 10)
async def nap(book: Book) -> None:
    book.lines.append("asleep")
    try:
        await asyncio.sleep(30)
    finally:
        book.lines.append("awake")


@pytest.fixture
def book() -> Ledger:
    return Ledger()


async def test_a_request_takes_the_whole_path_and_uses_what_the_test_put_in(
    floodgate: SystemFactory, book: Ledger
) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        answer = await system.post("/kit/notes", params={"line": "a"})
        assert (answer.status_code, answer.json()) == (200, 1)
        assert answer.headers["x-request-id"]
        assert (await system.post("/kit/notes")).status_code == 422
        assert (await system.put("/kit/notes", params={"line": "nothing"})).status_code == 409
    assert book.lines == ["a 1"]


@pytest.mark.parametrize(("method", "handler"), [("POST", note), ("PUT", put)], ids=["async", "sync"])
async def test_a_full_route_refuses_at_once_and_runs_nothing(
    floodgate: SystemFactory, book: Ledger, method: str, handler: Function
) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        async with system.full(handler):
            refused = await system.request(method, "/kit/notes", params={"line": "a"})
        answered = await system.request(method, "/kit/notes", params={"line": "b"})
    assert (refused.status_code, refused.json()["title"]) == (503, "Too busy")
    assert answered.status_code == 200
    assert book.lines == ["b 1"]


@pytest.mark.parametrize(("method", "handler"), [("POST", note), ("PUT", put)], ids=["async", "sync"])
async def test_a_late_answer_is_a_504_of_work_that_is_done(
    floodgate: SystemFactory, book: Ledger, method: str, handler: Function
) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        began = time.monotonic()
        async with system.late(handler, timeout_s=0.2):
            late = await system.request(method, "/kit/notes", params={"line": "a"})
        assert 0.19 <= time.monotonic() - began < 1  # deadlines are in whole ms of a clock that is never ahead
        answered = await system.request(method, "/kit/notes", params={"line": "b"})
    assert (late.status_code, late.json()["title"]) == (504, "Deadline exceeded")
    assert answered.status_code == 200
    assert book.lines == ["a 1", "b 1"]


async def test_a_worker_lost_under_a_post_is_a_502_of_work_that_is_done(floodgate: SystemFactory, book: Ledger) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        (first,) = system.workers
        async with system.lost(note):
            lost = await system.post("/kit/notes", params={"line": "a"})
        assert (lost.status_code, lost.json()["title"]) == (502, "Worker lost")
        assert system.workers != [first]
        assert (await system.post("/kit/notes", params={"line": "b"})).status_code == 200
    assert book.lines == ["a 1", "b 1"]


async def test_a_worker_lost_under_a_put_is_a_second_try(floodgate: SystemFactory, book: Ledger) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        async with system.lost(put):
            answer = await system.put("/kit/notes", params={"line": "a"})
        assert (answer.status_code, answer.json()) == (200, 2)
    assert book.lines == ["a 1", "a 2"]


async def test_a_put_whose_workers_are_all_lost_is_a_502(floodgate: SystemFactory, book: Ledger) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        async with system.lost(put, times=2):
            answer = await system.put("/kit/notes", params={"line": "a"})
        assert answer.status_code == 502
    assert book.lines == ["a 1", "a 2"]


async def test_a_cancelled_request_is_a_client_that_left(floodgate: SystemFactory, book: Ledger) -> None:
    async with floodgate(__name__, overrides={open_ledger: lambda: book}) as system:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await system.get("/kit/naps")
        async with asyncio.timeout(2):
            while book.lines != ["asleep", "awake"]:
                await asyncio.sleep(0.01)


async def test_without_workers_everything_is_refused(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, workers=0) as system:
        refused = await system.post("/kit/notes", params={"line": "a"})
        assert (refused.status_code, refused.json()["title"]) == (503, "No worker")


async def test_a_function_that_is_no_handler_has_no_faults(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, workers=0) as system:
        with pytest.raises(LookupError, match="open_ledger"):
            system.full(open_ledger)

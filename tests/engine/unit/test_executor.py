"""Whatever a handler does, exactly one end leaves the executor, and it is free for another run."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from fastapi import HTTPException
from pydantic import BaseModel, model_serializer

from floodgate.broker.envelopes import Task, TaskOutcome
from floodgate.declare.checks import build_registry
from floodgate.declare.registry import declared_in
from floodgate.worker.arguments import handler_calls
from floodgate.worker.executor import TRANSITIONS, Ended, Event, Executor, Phase, Run
from floodgate.worker.resources import Resources
from shared import Context, HTTPError, Reply, queued

seat = contextvars.ContextVar("seat", default="free")


class Noted(BaseModel):
    """Notes in which threads it is serialized."""

    by: ClassVar[list[threading.Thread]] = []

    @model_serializer
    def out(self) -> str:
        self.by.append(threading.current_thread())
        return "noted"


class NotOurs(BaseException):
    pass


class Collected(list[Ended]):
    """Takes ends, as the completions of a worker do."""

    def add(self, ended: Ended) -> None:
        self.append(ended)


def raising(error: BaseException) -> Callable[..., Any]:
    async def handler() -> None:
        raise error

    return handler


async def end(function: Callable[..., Any], left_s: float = 5, most_bytes: int = 1000, stop: bool = False) -> Ended:
    before = len(declared_in(__name__))
    queued("/x", 1)(function)
    registry = build_registry(declared_in(__name__)[before:], timeout_s=10)
    (handler,) = registry.handlers
    ended = Collected()
    executor = Executor(handler.kind, 2, handler_calls(registry, Resources([])), most_bytes, ended)
    task = Task(0, handler.route, "l", "i", 1, "f", 8, 5000, "request")
    executor.start("lease", "task", task, 0, left_s)
    await asyncio.sleep(0.05)
    if stop:
        executor.stop_task("task")
    async with asyncio.timeout(3):
        await executor.idle()
    assert executor.free == 2
    executor.close()
    assert len(ended) == 1
    return ended[0]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        NotOurs(),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(),
        asyncio.CancelledError(),
        GeneratorExit(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync"])
async def test_whatever_a_handler_raises_is_a_failure_without_text(error: BaseException, in_thread: bool) -> None:
    def sync() -> None:
        raise error

    ended = await end(sync if in_thread else raising(error))
    assert (ended.reply.outcome, ended.reply.body) == (TaskOutcome.FAILED, b"")


async def test_a_handler_that_cancels_its_own_task_fails() -> None:
    async def handler() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    assert (await end(handler)).reply.outcome is TaskOutcome.FAILED


async def test_a_thread_that_calls_sys_exit_lives_on() -> None:
    def handler() -> None:
        sys.exit(1)

    assert (await end(handler)).reply.outcome is TaskOutcome.FAILED


async def test_an_http_error_keeps_its_status_and_detail() -> None:
    ended = await end(raising(HTTPError(418, {"kind": "teapot"})))
    assert (ended.reply.outcome, ended.reply.status) == (TaskOutcome.DONE, 418)
    assert ended.reply.body == b'{"detail":{"kind":"teapot"}}'


@pytest.mark.parametrize("status", [99, 199, 600, "404", 200.5, None])
@pytest.mark.parametrize("how", ["exception", "reply"])
async def test_a_status_that_http_does_not_have_is_a_failure_with_a_line_in_the_log(
    status: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler() -> Reply[None]:
        if how == "exception":
            raise HTTPException(status, "detail")
        reply = Reply(None)
        reply.status = status or 0
        return reply

    assert (await end(handler)).reply.outcome is TaskOutcome.FAILED
    assert "200 to 599" in caplog.text


async def test_a_result_larger_than_allowed_is_a_failure() -> None:
    async def handler() -> str:
        return "x" * 1001

    assert (await end(handler)).reply.outcome is TaskOutcome.FAILED


async def test_a_result_that_is_not_what_the_annotation_says_is_a_failure() -> None:
    async def handler() -> int:
        return "no number"  # type: ignore[return-value]

    assert (await end(handler)).reply.outcome is TaskOutcome.FAILED


async def test_an_async_handler_is_cancelled_when_its_time_is_used_up() -> None:
    async def handler() -> None:
        await asyncio.sleep(30)

    ended = await end(handler, left_s=0.2)
    assert (ended.reply.outcome, ended.in_time) == (TaskOutcome.EXPIRED, False)


async def test_a_failure_is_in_time_if_it_ended_before_its_deadline() -> None:
    async def handler() -> None:
        raise ValueError("no")

    ended = await end(handler)
    assert (ended.reply.outcome, ended.in_time) == (TaskOutcome.FAILED, True)


async def test_a_failure_after_the_deadline_is_late() -> None:
    async def handler() -> None:
        time.sleep(0.2)  # a loop held up sees the end of its time too late
        raise ValueError("no")

    assert not (await end(handler, left_s=0.1)).in_time


async def test_nothing_is_started_after_its_deadline() -> None:
    started = []

    async def handler() -> None:
        started.append(1)

    ended = await end(handler, left_s=-0.1)
    assert (ended.reply.outcome, started) == (TaskOutcome.EXPIRED, [])


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync"])
async def test_what_a_handler_sets_in_its_context_is_gone_for_the_next_one(in_thread: bool) -> None:
    seen = []

    def sync() -> None:
        seen.append((seat.get(), decimal.getcontext().prec))
        seat.set("taken")
        decimal.getcontext().prec = 3

    async def on_loop() -> None:
        sync()

    decimal.getcontext()  # from here on there is one that could be shared
    with executing(sync if in_thread else on_loop, concurrency=1) as (executor, ended):
        await idle(executor)
        executor.start("again", "task", ended[0].run.task, 0, 5)
        await idle(executor)
    assert seen == [("free", 28)] * 2


async def test_the_result_of_a_sync_handler_is_serialized_in_its_thread() -> None:
    def handler() -> Noted:
        return Noted()

    assert (await end(handler)).reply.body == b'"noted"'
    assert Noted.by
    assert threading.main_thread() not in Noted.by


async def test_a_sync_handler_sees_its_flag_and_holds_its_thread_until_it_ends() -> None:
    def handler(ctx: Context) -> None:
        while not ctx.cancelled:
            time.sleep(0.01)

    began = time.monotonic()
    ended = await end(handler, left_s=0.3)
    assert ended.reply.outcome is TaskOutcome.EXPIRED
    assert 0.25 < time.monotonic() - began < 2


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync"])
async def test_a_stopped_run_ends_soon(in_thread: bool) -> None:
    async def waits() -> None:
        await asyncio.sleep(30)

    def looks(ctx: Context) -> None:
        while not ctx.cancelled:
            time.sleep(0.01)

    ended = await end(looks if in_thread else waits, stop=True)
    assert ended.run.phase is Phase.STOPPED


@contextmanager
def executing(
    function: Callable[..., Any], concurrency: int = 2, left_s: float = 5
) -> Iterator[tuple[Executor, Collected]]:
    """Start a handler `concurrency` times, under the leases 0, 1, …; give the executor and what has ended."""
    before = len(declared_in(__name__))
    queued("/x", 1)(function)
    registry = build_registry(declared_in(__name__)[before:], timeout_s=10)
    (handler,) = registry.handlers
    ended = Collected()
    executor = Executor(handler.kind, concurrency, handler_calls(registry, Resources([])), 1000, ended)
    for number in range(concurrency):
        task = Task(0, handler.route, "l", "i", 1, "f", 8, round(left_s * 1000), "request")
        executor.start(str(number), f"task {number}", task, 0, left_s)
    yield executor, ended
    executor.close()


async def idle(executor: Executor) -> None:
    async with asyncio.timeout(5):
        await executor.idle()


@pytest.mark.parametrize("again", [Event.STOP, Event.RELEASE], ids=lambda event: event.name)
async def test_a_handler_hears_its_end_once_and_may_clean_up(again: Event) -> None:
    heard, cleaned = asyncio.Event(), []

    async def handler() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            heard.set()
            await asyncio.sleep(0.1)  # a rollback, say
            cleaned.append(True)

    with executing(handler, concurrency=1, left_s=0.1) as (executor, ended):
        await heard.wait()
        if again is Event.STOP:  # the client has its 504 and goes
            executor.stop_task("task 0")
        else:  # the worker leaves
            executor.release()
        await idle(executor)
    assert cleaned == [True]
    assert [e.run.phase for e in ended] == ([Phase.STOPPED] if again is Event.STOP else [])


async def test_a_run_that_is_stopped_before_its_first_step_is_reported_and_never_started() -> None:
    started = []

    async def handler() -> None:
        started.append(True)

    with executing(handler) as (executor, ended):
        executor.stop("0")
        await idle(executor)
    assert sorted(e.run.phase.name for e in ended) == ["RUNNING", "STOPPED"]
    assert started == [True]


async def test_what_a_handler_answers_after_its_deadline_is_expired() -> None:
    async def handler() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise HTTPError(418) from None

    assert (await end(handler, left_s=0.1)).reply.outcome is TaskOutcome.EXPIRED


def test_the_table_has_an_end_for_every_phase_and_none_leads_back() -> None:
    order = list(Phase)
    assert all(order.index(after) > order.index(before) for (before, _), after in TRANSITIONS.items())
    for phase in order[:-1]:
        assert TRANSITIONS[phase, Event.RELEASE] is Phase.RELEASED


@pytest.mark.parametrize(
    "events", list(itertools.permutations(Event)), ids=lambda events: "-".join(e.name for e in events)
)
def test_a_handler_is_told_at_most_once_in_whatever_order(events: tuple[Event, ...]) -> None:
    run = Run("lease", "task", Task(0, "r", "l", "i", 1, "f", 8, 5000, "request"), Context("request"), 5)
    began = events[0] is Event.BEGIN  # a run that is to end before it began is never started
    assert sum(run.move(event) for event in events) == began
    assert run.phase is Phase.RELEASED

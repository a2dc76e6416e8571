"""Factories that fail or hang, and closing that does: the worker says so, goes on, and leaves in time."""

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from floodgate.errors import DeclarationError
from floodgate.worker import resources
from shared import Resource
from tests.engine.opening import asking_for, failures, leave, noted, opened, said_of

CLOSE_S = 0.4
events: list[str] = []


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    events.clear()
    monkeypatch.setattr(resources, "CLOSE_S", CLOSE_S)
    monkeypatch.setattr(resources, "SLACK_S", 0.1)


# Failures


async def test_a_factory_that_fails_is_tried_again_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    def flaky(first: Annotated[str, Resource(noted("first", events))]) -> str:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise ConnectionError("the database is away")
        return "open at last"

    async with opened(flaky) as (value,):
        assert value == "open at last"
    assert failures(caplog) == [(Resource(flaky).name, "the database is away")] * 3
    assert "in flaky" in caplog.text, "the log has the traceback"
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert pauses[0] < pauses[2]
    assert events == ["open first", "close first"], "what was open stayed open"


async def test_the_log_names_the_resource_that_failed_and_not_the_one_that_needs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def pool() -> str:
        raise ConnectionError("away")

    def orders(database: Annotated[str, Resource(pool)]) -> str:
        return database

    assert set(await said_of(orders, caplog=caplog)) == {(Resource(pool).name, "away")}


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()], ids=repr
)
@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync"])
async def test_whatever_a_factory_raises_is_a_failure(
    error: BaseException, in_thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def sync() -> None:
        raise error

    async def on_loop() -> None:
        raise error

    assert len(await said_of(sync if in_thread else on_loop, caplog=caplog)) == 2


async def test_resources_in_a_circle_are_named(caplog: pytest.LogCaptureFixture) -> None:
    ((_, reason), *_) = await said_of(hen, caplog=caplog)
    names = [Resource(factory).name for factory in (hen, egg, hen)]
    assert reason == f"resources need each other in a cycle: {' → '.join(names)}; take one out"


def hen(laid: Annotated[Any, Resource("tests.engine.unit.test_resources_failing:egg")]) -> None: ...


def egg(hatched: Annotated[Any, Resource(hen)]) -> None: ...


def test_a_parameter_that_nothing_fills_is_named_before_the_start() -> None:
    def pool(size: int) -> None: ...

    with pytest.raises(DeclarationError, match="needs 'size', which nothing fills: give it a default"):
        asking_for(pool)


async def test_a_generator_that_does_not_yield_fails(caplog: pytest.LogCaptureFixture) -> None:
    def empty() -> Iterator[None]:
        yield from ()

    ((_, reason), *_) = await said_of(empty, caplog=caplog)
    assert reason == "generator didn't yield"


async def test_a_background_task_that_fails_while_others_open_is_said_and_all_are_opened_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = itertools.count()

    async def feed() -> AsyncIterator[str]:
        async def subscribe(number: int) -> None:
            await asyncio.sleep(60 if number else 0.05)
            raise ConnectionError("the feed broke")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(subscribe(next(tries)))
            yield "open"
            task.cancel()

    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "slow"

    async with opened(feed, noted("second", events), slow) as values:
        assert values == ["open", "second", "slow"]
    ((name, _),) = failures(caplog)
    assert name == Resource(feed).name
    assert "the feed broke" in caplog.text
    assert events == ["open second", "close second"] * 2


# Leaving


async def test_a_factory_that_hangs_in_a_thread_holds_nobody_and_is_closed_when_it_returns() -> None:
    goes_on = threading.Event()

    def hangs() -> Iterator[None]:
        goes_on.wait(5)
        events.append("open")
        yield
        events.append("close")

    assert await leave(noted("first", events), hangs, noted("never", events)) < CLOSE_S + 0.3
    assert events == ["open first"]
    goes_on.set()
    async with asyncio.timeout(1):
        while events != ["open first", "open", "close", "close first"]:
            await asyncio.sleep(0.01)


async def test_a_factory_that_returns_meanwhile_is_closed_before_the_end() -> None:
    def slow() -> Iterator[None]:
        time.sleep(0.2)
        events.append("open")
        yield
        events.append("close")

    assert await leave(slow) < CLOSE_S
    assert events == ["open", "close"]


async def test_an_async_factory_that_hangs_is_cancelled_at_once() -> None:
    async def hangs() -> AsyncIterator[None]:
        try:
            await asyncio.sleep(60)
            yield
        finally:
            events.append("cleaned up")

    assert await leave(noted("first", events), hangs) < CLOSE_S
    assert events == ["open first", "cleaned up", "close first"]


async def test_what_opens_in_spite_of_its_cancellation_is_closed_and_nothing_more_is_opened() -> None:
    async def stubborn() -> AsyncIterator[None]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
        events.append("open")
        yield
        events.append("close")

    assert await leave(stubborn, noted("never", events)) < CLOSE_S
    assert events == ["open", "close"]


async def test_what_does_not_heed_its_cancellation_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def deaf() -> None:
        for _ in range(8):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                events.append("heard, not heeded")

    assert await leave(deaf) < CLOSE_S + 0.3
    assert "a resource cannot be stopped: left behind" in caplog.text
    await asyncio.sleep(0.4)


async def test_leaving_ends_the_tries() -> None:
    def fails() -> None:
        events.append("tried")
        raise ConnectionError

    assert await leave(fails, after_s=0.15) < CLOSE_S
    before = len(events)
    await asyncio.sleep(0.3)
    assert len(events) == before


# Closing


async def hanging_close() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(60)


def hanging_close_in_thread() -> Iterator[None]:
    yield
    time.sleep(1.5)


async def failing_close() -> AsyncIterator[None]:
    yield
    raise ConnectionError("gone already")


def twice() -> Iterator[None]:
    yield
    yield


async def exiting_close() -> AsyncIterator[None]:
    yield
    sys.exit(3)


@pytest.mark.parametrize(
    "bad", [hanging_close, hanging_close_in_thread, failing_close, twice, exiting_close], ids=lambda f: f.__name__
)
async def test_a_bad_close_is_said_and_keeps_neither_the_others_nor_the_drain(
    bad: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def first() -> AsyncIterator[None]:
        yield
        events.append("close first")

    async def last() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0.05)
        events.append("close last")

    async with opened(first, bad, last):
        began = time.monotonic()
    assert time.monotonic() - began < CLOSE_S + 0.4
    assert events == ["close last", "close first"]
    ((name, _),) = failures(caplog)
    assert name == Resource(bad).name


async def test_two_that_hang_share_the_time(caplog: pytest.LogCaptureFixture) -> None:
    async def other() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(60)

    async with opened(hanging_close, other):
        began = time.monotonic()
    assert time.monotonic() - began < CLOSE_S + 0.4
    assert [name for name, _ in failures(caplog)] == [Resource(other).name, Resource(hanging_close).name]

"""What a worker opens: every kind of factory, also by name, once and in order, or what a test puts in its place."""

import asyncio
import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import pytest

from shared import Resource
from tests.engine.opening import asking_for, noted, opened, said_of

events: list[str] = []


@pytest.fixture(autouse=True)
def _anew() -> None:
    events.clear()


# Kinds


async def async_generator() -> AsyncIterator[str]:
    events.append("open")
    yield "thing"
    events.append("close")


def generator() -> Iterator[str]:
    events.append("open")
    yield "thing"
    events.append("close")


class Entered:
    def __init__(self) -> None:
        asyncio.get_running_loop()  # as aiohttp's session does

    async def __aenter__(self) -> str:
        events.append("open")
        return "thing"

    async def __aexit__(self, *error: object) -> None:
        events.append("close")


async def entered_later() -> Entered:
    return Entered()


class Closable(str):
    def __new__(cls) -> Self:
        events.append("open")
        return super().__new__(cls, "thing")

    def close(self) -> None:
        events.append("close")


CLOSED = {
    "async generator": async_generator,
    "asynccontextmanager": asynccontextmanager(async_generator),
    "class of async context managers": Entered,
    "async function that returns one": entered_later,
    "generator": generator,
    "contextmanager": contextmanager(generator),
    "partial": functools.partial(generator),
    "function that returns one of contextlib's": lambda: closing(Closable()),
}


@pytest.mark.parametrize("factory", CLOSED.values(), ids=CLOSED.keys())
async def test_what_can_be_closed_is_open_in_between(factory: Callable[..., Any]) -> None:
    async with opened(factory) as (thing,):
        assert (thing, events) == ("thing", ["open"])
    assert events == ["open", "close"]


class Pool:
    def __init__(self, size: int = 3) -> None:
        self.size = size


class Awaitable:
    def __await__(self) -> Iterator[Any]:
        return asyncio.sleep(0, Pool()).__await__()


def open_pool() -> Pool:
    return Pool()


async def connect() -> Pool:
    return Pool()


@pytest.mark.parametrize("factory", [Pool, connect, Awaitable, open_pool], ids=["class", "async", "awaitable", "sync"])
async def test_what_cannot_be_closed_is_what_was_returned(factory: Callable[..., Any]) -> None:
    async with opened(factory) as (thing,):
        assert isinstance(thing, Pool)


async def test_a_lock_is_not_entered() -> None:
    async with opened(threading.Lock) as (lock,):
        assert not lock.locked()


async def test_sync_factories_run_in_one_thread_that_also_closes() -> None:
    seen = []

    def one() -> Iterator[None]:
        seen.append(threading.current_thread())
        yield
        seen.append(threading.current_thread())

    def other() -> None:
        seen.append(threading.current_thread())

    async with opened(one, other):
        pass
    assert len(seen) == 3
    assert set(seen) != {threading.current_thread()}
    assert len(set(seen)) == 1


async def test_a_task_group_in_a_resource_is_left_by_the_task_that_entered_it() -> None:
    async def ticking() -> AsyncIterator[asyncio.TaskGroup]:
        async with asyncio.TaskGroup() as group, asyncio.timeout(None):
            yield group

    async with opened(ticking) as (group,):
        task = group.create_task(asyncio.sleep(0.01, "done"))
    assert task.result() == "done"


async def test_a_context_of_a_library_is_left_without_an_error() -> None:
    seen: list[tuple[object, ...]] = []

    class Client:
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *error: object) -> None:
            seen.append(error)

    async with opened(Client) as (client,):
        assert isinstance(client, Client)
    assert seen == [(None, None, None)]


# Order


async def test_what_a_resource_needs_is_opened_before_and_closed_after_it_and_once() -> None:
    url = noted("url", events)

    async def pool(address: Annotated[str, Resource(url)]) -> AsyncIterator[str]:
        events.append(f"open pool of {address}")
        yield "pool"
        events.append("close pool")

    def orders(database: Annotated[str, Resource(pool)], address: Annotated[str, Resource(url)], rows: int = 5) -> str:
        return f"orders in {database} at {address}, {rows} rows"

    async with opened(orders, noted("cache", events), orders, pool, url) as (value, *_):
        assert value == "orders in pool at url, 5 rows"
    assert events == ["open url", "open pool of url", "open cache", "close cache", "close pool", "close url"]


# By name


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that says when it is imported."""
    (tmp_path / "heavy_models.py").write_text(
        "import threading\nwhere = threading.current_thread()\nload = lambda: 'model'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "heavy_models"
    sys.modules.pop("heavy_models", None)


async def test_a_name_is_imported_when_it_is_opened_and_in_a_thread(module: str) -> None:
    asking_for(f"{module}:load")
    assert module not in sys.modules
    async with opened(f"{module}:load") as (model,):
        assert model == "model"
    assert sys.modules[module].where is not threading.current_thread()


async def test_a_name_that_is_not_there_says_so(module: str, caplog: pytest.LogCaptureFixture) -> None:
    ((name, reason), *_) = await said_of(f"{module}:laod", caplog=caplog)
    assert (name, reason) == (
        "heavy_models:laod",
        f"Resource('{module}:laod'): {module} has no callable of the name laod",
    )


@pytest.mark.parametrize("name", ["models", "models:", ":load", ""])
def test_a_name_without_module_and_factory_is_refused_where_it_stands(name: str) -> None:
    with pytest.raises(ValueError, match=r"write 'package\.module:factory'"):
        Resource(name)


def test_what_cannot_be_called_is_refused_where_it_stands() -> None:
    with pytest.raises(TypeError, match="takes a callable, or its name as text, not 5"):
        Resource(5)  # type: ignore[arg-type]


# Overrides


async def test_an_override_takes_the_place_of_a_factory_and_of_what_that_needs(module: str) -> None:
    def orders(
        database: Annotated[Any, Resource(noted("database", events))], model: Annotated[Any, Resource(f"{module}:load")]
    ) -> str:
        return f"orders with {database} and {model}"

    async with opened(orders, overrides={orders: lambda: "no orders"}) as (value,):
        assert value == "no orders"
    async with opened(orders, overrides={f"{module}:load": generator}) as (value,):
        assert value == "orders with database and thing"
    assert module not in sys.modules
    assert events == ["open database", "open", "close", "close database"]

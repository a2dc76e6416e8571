"""The simulated database: how long calls take, alone and together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.database import ALONE_S, Database, query, serve


async def take_s(database: Database, calls: int) -> float:
    """Return how long so many calls at once take."""
    start_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(database.call())
    return time.monotonic() - start_s


@pytest.mark.parametrize(("calls", "expected_s"), [(1, 0.051), (8, 0.1), (16, 0.25)])
async def test_with_n_calls_at_once_each_takes_longer_by_n_squared(calls: int, expected_s: float) -> None:
    took_s = await take_s(Database(), calls)
    assert expected_s - 0.01 <= took_s <= expected_s + 0.05


async def test_a_call_that_is_given_up_slows_nobody_down_any_more() -> None:
    database = Database()
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(database.call()) for _ in range(100)]
        await asyncio.sleep(0.02)
        for call in crowd:
            call.cancel()
        await asyncio.wait(crowd)
        assert database.takes_s == pytest.approx(ALONE_S)
        assert await take_s(database, 1) < 0.15


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[str]:
    socket = str(directory / "db")
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(socket))
        await asyncio.sleep(0.05)
        yield socket
        serving.cancel()


async def test_callers_over_the_socket_are_counted_together(tmp_path: Path) -> None:
    async with served(tmp_path) as socket:
        start_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(query(socket))
        assert 0.2 <= time.monotonic() - start_s <= 0.4


async def test_a_caller_that_hangs_up_is_not_counted_any_more(tmp_path: Path) -> None:
    async with served(tmp_path) as socket:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(query(socket)) for _ in range(100)]
                await asyncio.sleep(0.05)
                for call in calls:
                    call.cancel()
        await asyncio.sleep(0.05)
        start_s = time.monotonic()
        await query(socket)
        assert time.monotonic() - start_s < 0.2

"""The end of an engine's loops: no task stays because its cancellation was dropped."""

from __future__ import annotations

import asyncio
import contextlib

from floodgate.operations import supervision


async def test_a_task_that_drops_its_cancellation_is_cancelled_again() -> None:
    dropped = 0

    async def stubborn() -> None:
        nonlocal dropped
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                dropped += 1
                if dropped == 3:
                    raise

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    async with asyncio.timeout(3 * supervision.AGAIN_S + 2):
        await supervision.end(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_an_ended_task_raised_is_its_own() -> None:
    async def fails() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError("at its end")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await supervision.end([task])
    assert isinstance(task.exception(), ValueError)

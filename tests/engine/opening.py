"""Resources under test: handlers that ask for them, opened and closed without a worker.

Owns short forms, and the log of failures. Asserts nothing itself but that waiting ends.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Handler, declared_in
from floodgate.worker.resources import Resources
from shared import Resource, queued


def asking_for(*factories: Any) -> tuple[Handler, ...]:
    """Return a handler for each factory."""
    before = len(declared_in(__name__))
    for number, factory in enumerate(factories):

        async def handler(thing: Annotated[Any, Resource(factory)]) -> None: ...

        queued(f"/{number}", 1)(handler)
    return build_registry(declared_in(__name__)[before:], timeout_s=10).handlers


@asynccontextmanager
async def opened(*factories: Any, overrides: Mapping[Any, Any] | None = None) -> AsyncIterator[list[Any]]:
    """Open what is asked for, and close it after the block."""
    held = Resources(asking_for(*factories), overrides)
    try:
        async with asyncio.timeout(3):
            await held.open()
        yield [held.get(Resource(factory)) for factory in factories]
    finally:
        await held.close()


async def said_of(*factories: Any, caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return resource and reason of what is said when these are opened, until it is said twice."""
    held = Resources(asking_for(*factories))
    opening = asyncio.create_task(held.open())
    async with asyncio.timeout(3):
        while len(failures(caplog)) < 2:
            await asyncio.sleep(0.01)
    assert not opening.done()
    opening.cancel()
    await held.close()
    return failures(caplog)


def failures(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return resource and reason of every error in the log."""
    return [
        (record.floodgate_fields["resource"], str(record.exc_info and record.exc_info[1]))  # type: ignore[attr-defined]
        for record in caplog.records
        if record.levelno == logging.ERROR
    ]


async def leave(*factories: Any, after_s: float = 0.05) -> float:
    """Begin to open, leave after some time; return how long leaving took."""
    held = Resources(asking_for(*factories))
    opening = asyncio.create_task(held.open())
    await asyncio.sleep(after_s)
    assert not opening.done()
    opening.cancel()
    began = time.monotonic()
    await held.close()
    return time.monotonic() - began


def noted(name: str, events: list[str]) -> Callable[..., Iterator[str]]:
    """Return a factory that says when it opens and closes."""

    def factory() -> Iterator[str]:
        events.append(f"open {name}")
        yield name
        events.append(f"close {name}")

    return factory

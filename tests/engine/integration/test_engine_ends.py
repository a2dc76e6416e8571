"""A gateway whose engine fails: whoever waits is answered, whoever comes is refused, and the process leaves."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from floodgate.gateway import runtime as engine
from floodgate.operations.metrics_files import ProcessMetrics
from floodgate.testing import SystemFactory
from floodgate.worker import runtime as worker_engine
from shared import queued
from tests.engine.system.system import until_async


@queued("/slow", 100, timeout_s=8)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.fixture
def raised() -> Iterator[list[int]]:
    """The signals that this process was sent to end it."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


async def test_a_gateway_whose_engine_fails_answers_at_once_and_leaves(
    floodgate: SystemFactory, raised: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = asyncio.Event()

    async def reap_until_it_fails(*_: object) -> None:
        await fails.wait()
        raise ZeroDivisionError("a mistake in a loop")

    shared: list[ProcessMetrics] = []
    share = ProcessMetrics.share

    def noting(metrics: ProcessMetrics) -> None:
        share(metrics)
        if fails.is_set():
            shared.append(metrics)

    monkeypatch.setattr(engine, "reap_forever", reap_until_it_fails)
    monkeypatch.setattr(ProcessMetrics, "share", noting)
    async with floodgate(__name__, lease_s=1) as system:
        assert system.app.ready
        assert system.app.engine is not None
        gateway = system.app.engine.metrics.process
        waiting = asyncio.create_task(system.get("/slow?seconds=5"))
        await asyncio.sleep(0.3)
        began_s = time.monotonic()
        fails.set()
        assert (await waiting).status_code == 503
        assert (await system.get("/slow?seconds=0")).status_code == 503
        assert (await system.get("/-/ready")).status_code == 503
        assert time.monotonic() - began_s < 1
        await until_async(lambda: raised == [signal.SIGTERM])
        await until_async(lambda: gateway in shared)


async def test_both_engines_end_although_a_loop_of_theirs_drops_its_cancellation(
    floodgate: SystemFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = 0

    def dropping(reap: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
        async def reaping(*arguments: Any) -> None:
            nonlocal dropped
            try:
                await reap(*arguments)
            except asyncio.CancelledError:  # as `wait_for` of Python 3.11 does, if what it waits for is done
                dropped += 1
                await reap(*arguments)

        return reaping

    for each in (engine, worker_engine):
        monkeypatch.setattr(each, "reap_forever", dropping(each.reap_forever))
    async with asyncio.timeout(10):
        async with floodgate(__name__, lease_s=1):
            pass
    assert dropped == 2

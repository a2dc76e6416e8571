"""Your handlers under test: a gateway, the queue and workers in one process, on a real server.

Owns the fixture `floodgate` and the faults that a test may ask for. Nothing of the
queue is mocked: places are taken by its scripts, the tasks of a lost worker end with
their lease, a late handler overruns its deadline.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from floodgate.declare.discovery import discover
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.app import Extension, GatewayApp, create_app
from floodgate.gateway.outcomes import Draft
from floodgate.operations.settings import Settings
from gateway_app import extend
from tests.faults import Function, Overrides, Worker, all_places_taken

READY_S = 10


class Kit:
    """What the fixture gives: `async with floodgate("shared.handlers", overrides={open_pool: FakePool}) as system`."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        self._redis_url, self._namespace = redis_url, namespace

    @asynccontextmanager
    async def __call__(
        self,
        handlers: str = "shared.handlers",
        *,
        overrides: Overrides | None = None,
        workers: int = 1,
        extension: Extension = extend,
        **settings: Any,
    ) -> AsyncIterator[System]:
        """Run the handlers of a package or module (a test's own: `__name__`), and end them in order.

        `overrides` puts another factory in the place of a resource's, named as in
        `Resource(…)`. `settings` are those of `floodgate.operations.settings`, in small letters.
        """
        own = {"redis_url": self._redis_url, "namespace": self._namespace, "handlers": handlers}
        chosen = Settings(**{"lease_s": 0.5, "drain_s": 3, **own, **settings})
        app = create_app(chosen, registry := discover(chosen), extension)
        async with app.router.lifespan_context(app), System(app, chosen, registry, overrides) as system:
            try:
                for _ in range(workers):
                    await system.add_worker()
                yield system
            finally:
                await system.end_workers()


class System(httpx.AsyncClient):
    """A client of the gateway, and what can happen to its requests; a cancelled one is a client that leaves.

    `late` and `lost` strike when the handler has done its work and its answer has not
    left: what is written is written, and the client does not know.
    """

    def __init__(self, app: GatewayApp, settings: Settings, registry: Registry, overrides: Overrides | None) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://floodgate")
        self.app, self.settings, self.registry, self.overrides = app, settings, registry, overrides
        self.workers: list[Worker] = []
        self._left: list[Worker] = []
        self._lost: dict[Function, int] = {}
        self._late: dict[Function, float] = {}
        self._dispatch = app.state.dispatcher.dispatch
        app.state.dispatcher.dispatch = self._dispatch_with_own_deadline

    def full(self, function: Function) -> AbstractAsyncContextManager[None]:
        """Take all free places of a handler's route while the block lasts: 503."""
        return all_places_taken(self.settings, self._handler(function))

    @asynccontextmanager
    async def late(self, function: Function, timeout_s: float = 0.5) -> AsyncIterator[None]:
        """Let a handler overrun its deadline, `timeout_s` in this block: 504."""
        self._late[self._handler(function).function] = timeout_s
        try:
            yield
        finally:
            del self._late[function]

    @asynccontextmanager
    async def lost(self, function: Function, times: int = 1) -> AsyncIterator[None]:
        """Lose the worker that runs a handler, `times` times: 502, or another try where it has attempts left."""
        self._lost[self._handler(function).function] = times
        try:
            yield
        finally:
            del self._lost[function]

    async def lose(self, worker: Worker) -> None:
        """Let a worker die; another is there to take its place."""
        await self.add_worker()
        self.workers.remove(worker)
        self._left.append(worker)
        worker.die()

    async def add_worker(self) -> Worker:
        """Start one more worker and wait until it is ready."""
        worker, limit_s = self.start_worker(), time.monotonic() + READY_S
        while not (worker.ready and self.app.engine and self.app.engine.ready):
            assert time.monotonic() < limit_s, "a worker did not get ready; the captured log says why"
            await asyncio.sleep(0.01)
        return worker

    def start_worker(self) -> Worker:
        self.workers.append(Worker(self.settings, self.registry, self.overrides, self._strike))
        return self.workers[-1]

    async def end_workers(self) -> None:
        """Let all workers end their work and leave."""
        for worker in self.workers:
            worker.begin_drain()
        self._left, self.workers = [*self._left, *self.workers], []
        for result in await asyncio.gather(*(worker.running for worker in self._left), return_exceptions=True):
            if result is not None and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _strike(self, worker: Worker, function: Function) -> None:
        if self._lost.get(function):
            self._lost[function] -= 1
            await self.lose(worker)
        await asyncio.sleep(self._late.get(function, 0))

    async def _dispatch_with_own_deadline(self, handler: Handler, draft: Draft, receive: Any) -> Any:
        if (timeout_s := self._late.get(handler.function)) is not None:
            terms = dataclasses.replace(draft.terms, budget_ms=round(timeout_s * 1000), whole=False)
            draft = dataclasses.replace(draft, terms=terms)
        return await self._dispatch(handler, draft, receive)

    def _handler(self, function: Function) -> Handler:
        for handler in self.registry.handlers:
            if handler.function is function:
                return handler
        raise LookupError(f"{function!r} is no handler of {self.settings.handlers}")


@pytest.fixture
def floodgate(redis_url: str, namespace: str) -> Kit:
    """Your handlers behind a gateway, in a namespace of their own, where no key may be left when the test ends."""
    return Kit(redis_url, namespace)

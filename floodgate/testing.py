"""Your handlers under test: a gateway, the queue and workers in one process, on a real server.

Owns the fixture `floodgate` and the faults that a test may ask for. Nothing of the
queue is mocked: places are taken by its scripts, the tasks of a lost worker end with
their lease, a late handler overruns its deadline.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis import Redis

from floodgate.broker.commands import MAX_BATCH, AdmitCode, AdmitRequest, admit, cancel, renew
from floodgate.broker.commands import AdmissionClass as CallKind
from floodgate.broker.connection import connect, run
from floodgate.broker.envelopes import Task, pack_task
from floodgate.broker.keys import Keys, flow_of, lane_of
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.app import GatewayApp
from floodgate.gateway.outcomes import Payload
from floodgate.operations.settings import Settings
from floodgate.run.embedded import EmbeddedServer
from floodgate.worker.runs import Event
from floodgate.worker.runtime import WorkerRuntime

READY_S = 10

HOLD_MS = 60_000
"""How long places stay taken when nobody gives them back."""
PLACES = 10_000
WEIGHT = 8
"""Of the claimer for whom they wait: more than they are, or they would be refused as too late."""

LONGEST_DRAIN_S = 3600
"""What a start is told: it is longer than any `timeout_s`. The time that a test asks for is set afterwards."""

FORGET_S = 0.26
"""A gateway remembers a refusal for up to a quarter of a second; after that the route is as it was."""

Function = Callable[..., Any]
Overrides = Mapping[Function | str, Function]
Strike = Callable[["Worker", Function], Coroutine[Any, Any, None]]


class Worker(WorkerRuntime):
    """A worker at work that can die; it awaits `strike` when a handler has done its work, before the answer leaves."""

    def __init__(self, settings: Settings, registry: Registry, overrides: Overrides | None, strike: Strike) -> None:
        self._strike = strike
        handlers = tuple(self._struck(handler) for handler in registry.handlers)
        super().__init__(settings, dataclasses.replace(registry, handlers=handlers), overrides)
        self.running = asyncio.create_task(self.run())

    def die(self) -> None:
        """End as a killed process does: send nothing, renew nothing. The thread of a sync handler runs on, unheard."""
        for executor in (consumer.executor for consumer in self._consumers):
            for held in executor.runs.values():
                executor.tell(held, Event.RELEASE)
            executor.close()
        self.running.cancel()

    def _struck(self, handler: Handler) -> Handler:
        function, loop = handler.function, asyncio.get_running_loop()

        async def on_loop(**arguments: Any) -> Any:
            try:
                return await function(**arguments)
            finally:
                await self._strike(self, function)

        def in_thread(**arguments: Any) -> Any:
            try:
                return function(**arguments)
            finally:
                if not loop.is_closed():  # the test may be over
                    asyncio.run_coroutine_threadsafe(self._strike(self, function), loop).result()

        return dataclasses.replace(handler, function=on_loop if handler.kind == "a" else in_thread)


@asynccontextmanager
async def all_places_taken(settings: Settings, handler: Handler) -> AsyncIterator[None]:
    """Take every free place of a route by tasks that wait in a lane of their own, from which nobody claims."""
    keys, client, lane = Keys(settings.namespace), connect(settings), lane_of("taken", handler.kind, 0)
    consumer = f"{secrets.token_hex(6)}.{handler.kind}.{PLACES}"
    register = functools.partial(renew, keys, consumer=consumer, lease_ms=HOLD_MS, lanes=[lane], leases=[])
    taken: list[str] = []
    try:
        now_ms = (await run(client, register(register_ms=HOLD_MS))).now_ms
        room = True
        while room:
            names = [secrets.token_hex(8) for _ in range(MAX_BATCH)]
            asked = [_admission(now_ms, name, handler.route, lane) for name in names]
            reply = await run(client, admit(keys, valid_until_ms=now_ms + HOLD_MS, requests=asked))
            codes = [result.code for result in reply.results]
            taken += [one.id for one, code in zip(asked, codes, strict=True) if code is AdmitCode.ADMITTED]
            room = codes[-1] is AdmitCode.ADMITTED
        yield
    finally:
        for at in range(0, len(taken), MAX_BATCH):
            await run(client, cancel(keys, taken[at : at + MAX_BATCH]))
        await run(client, register(register_ms=0))
        await client.aclose()
        await asyncio.sleep(FORGET_S)


def _admission(now_ms: int, name: str, route: str, lane: str) -> AdmitRequest:
    id, flow, deadline_ms = f"{route}.{name}", flow_of(route, WEIGHT, "", False), now_ms + HOLD_MS
    task = Task(
        deadline_ms=deadline_ms,
        route=route,
        lane=lane,
        inbox="taken",
        attempts=1,
        flow=flow,
        weight=WEIGHT,
        budget_ms=HOLD_MS,
        request_id="taken",
        body=b"",
    )
    return AdmitRequest(CallKind(route, lane, flow, WEIGHT, 1000, HOLD_MS), id, deadline_ms, pack_task(task))


class SystemFactory:
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
        gateway: Callable[[], FastAPI] | str = "gateway_app.main:build",
        **settings: Any,
    ) -> AsyncIterator[System]:
        """Run the handlers of a package or module (a test's own: `__name__`), and end them in order.

        `overrides` puts another factory in the place of a resource's, named as in
        `Resource(…)`; `gateway` another application in the place of yours. `settings` are
        those of `floodgate.operations.settings`, in small letters.
        """
        own = {"redis_url": self._redis_url, "namespace": self._namespace, "handlers": handlers}
        drain_s = settings.pop("drain_s", 3)  # shorter than the handlers may take, which a start would refuse
        with _environment({"lease_s": 0.5, **own, **settings, "drain_s": LONGEST_DRAIN_S}), _logging_kept():
            app = (importlib.import_module(gateway.partition(":")[0]).build if isinstance(gateway, str) else gateway)()
        assert isinstance(app, GatewayApp), "build() returns what join() returned"
        app.settings = app.settings.model_copy(update={"drain_s": drain_s})
        async with app.router.lifespan_context(app), System(app, overrides) as system:
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

    def __init__(self, app: GatewayApp, overrides: Overrides | None) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://floodgate")
        self.app, self.settings, self.registry, self.overrides = app, app.settings, app.registry, overrides
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

    async def _dispatch_with_own_deadline(self, handler: Handler, payload: Payload, receive: Any) -> Any:
        if (timeout_s := self._late.get(handler.function)) is not None:
            options = dataclasses.replace(payload.options, budget_ms=round(timeout_s * 1000), whole=False)
            payload = dataclasses.replace(payload, options=options)
        return await self._dispatch(handler, payload, receive)

    def _handler(self, function: Function) -> Handler:
        for handler in self.registry.handlers:
            if handler.function is function:
                return handler
        raise LookupError(f"{function!r} is no handler of {self.settings.handlers}")


@contextmanager
def _environment(given: Mapping[str, Any]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({name.upper(): str(value) for name, value in given.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what `join` does to the root logger: in a test its handlers are pytest's, and `caplog` is one of them."""
    handlers, level = list(logging.root.handlers), logging.root.level
    try:
        yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """Start one server for the whole run."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def redis_url(server: EmbeddedServer) -> str:
    """Return the address of the run's server."""
    return server.url


@pytest.fixture
def namespace(server: EmbeddedServer) -> Iterator[str]:
    """Give a namespace that nobody else uses; its keys are removed after the test."""
    name = f"t{secrets.token_hex(6)}"
    yield name
    with closing(Redis.from_url(server.url)) as client:
        for key in client.scan_iter(match=f"{Keys(name).prefix}*", count=1000):
            client.unlink(key)


@pytest.fixture
def floodgate(redis_url: str, namespace: str) -> SystemFactory:
    """Your handlers behind a gateway, in a namespace of their own, where no key may be left when the test ends."""
    return SystemFactory(redis_url, namespace)

"""The fixture `floodgate`: your handlers behind a gateway, the queue and workers, in one process, on a real server.

Owns the faults that a test may ask for. Nothing of the queue is mocked: places are
taken by its scripts, the tasks of a lost worker end with their lease, a late handler
overruns its deadline. Knows nothing of the engine's own tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import pkgutil
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing, contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis import Redis

from floodgate.broker.cancellation import cancel
from floodgate.broker.commands import MAX_BATCH, AdmissionClass, AdmitCode, AdmitRequest, admit, renew
from floodgate.broker.connection import connect, run
from floodgate.broker.envelopes import Task, pack_task
from floodgate.broker.keys import Keys, flow_of, lane_of
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.app import GatewayApp
from floodgate.gateway.payload import Payload
from floodgate.operations.environment import variable
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.worker.runtime import WorkerRuntime

__all__ = ["System", "SystemFactory", "Worker", "floodgate", "namespace", "redis_url", "server"]

LEASE_S = 1.0
"""Short, so that a test waits little for the tasks of a lost worker; shorter, a busy machine would lose its own."""
DRAIN_S = 3.0
"""How long a test waits at its end for handlers that still run."""
LONGEST_DRAIN_S = 3600
"""What `build` is told, since it refuses a drain that is shorter than a handler's time-out."""
READY_S = 10.0

TAKEN_FOR_MS = 60_000
"""How long places stay taken when nobody gives them back."""
TAKER_CONCURRENCY = 10_000
"""Of the consumer that never claims; with less, some of its tasks would be refused as too late."""
WEIGHT = 8
REMEMBERED_S = 0.26
"""A gateway remembers a refusal for up to a quarter of a second; after that the route is as it was."""

Function = Callable[..., Any]
Overrides = Mapping[Function | str, Function]
Fault = Callable[["Worker", Function], Coroutine[Any, Any, None]]


class Worker(WorkerRuntime):
    """A running worker that can die; it awaits `fault` after each run of a handler, before the answer leaves."""

    def __init__(self, settings: Settings, registry: Registry, overrides: Overrides | None, fault: Fault) -> None:
        self._fault = fault
        handlers = tuple(self._with_fault(handler) for handler in registry.handlers)
        super().__init__(settings, dataclasses.replace(registry, handlers=handlers), overrides)
        self.running = asyncio.create_task(self.run())

    def die(self) -> None:
        """End as a killed process does: send nothing, renew nothing. What a thread still runs is dropped."""
        for consumer in self._consumers:
            consumer.executor.release()
            consumer.executor.close()
        self.running.cancel()

    def _with_fault(self, handler: Handler) -> Handler:
        function, loop = handler.function, asyncio.get_running_loop()

        async def on_loop(**arguments: Any) -> Any:
            try:
                return await function(**arguments)
            finally:
                await self._fault(self, function)

        def in_thread(**arguments: Any) -> Any:
            try:
                return function(**arguments)
            finally:
                if not loop.is_closed():  # the test may be over
                    asyncio.run_coroutine_threadsafe(self._fault(self, function), loop).result()

        async def items_on_loop(**arguments: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(function(**arguments)) as items:
                    async for item in items:
                        yield item
            finally:
                await self._fault(self, function)

        def items_in_thread(**arguments: Any) -> Iterator[Any]:
            try:
                yield from function(**arguments)
            finally:
                if not loop.is_closed():
                    asyncio.run_coroutine_threadsafe(self._fault(self, function), loop).result()

        plain, items = (on_loop, items_on_loop) if handler.kind == "a" else (in_thread, items_in_thread)
        return dataclasses.replace(handler, function=plain if handler.stream is None else items)


@asynccontextmanager
async def _all_places_taken(settings: Settings, handler: Handler) -> AsyncIterator[None]:
    """Take every free place of a route by tasks that wait in a lane of their own, from which nobody claims."""
    keys, client, lane = Keys(settings.namespace), connect(settings), lane_of("taken", handler.kind, 0)
    consumer = f"{secrets.token_hex(6)}.{handler.kind}.{TAKER_CONCURRENCY}"
    register = functools.partial(renew, keys, consumer=consumer, lease_ms=TAKEN_FOR_MS, lanes=[lane], leases=[])
    taken: list[str] = []
    try:
        now_ms = (await run(client, register(register_ms=TAKEN_FOR_MS))).now_ms
        full = False
        while not full:
            requests = [_admission(handler.route, lane, now_ms + TAKEN_FOR_MS) for _ in range(MAX_BATCH)]
            reply = await run(client, admit(keys, valid_until_ms=now_ms + TAKEN_FOR_MS, requests=requests))
            pairs = zip(requests, reply.results, strict=True)
            admitted = [request.id for request, result in pairs if result.code is AdmitCode.ADMITTED]
            taken += admitted
            full = len(admitted) < len(requests)
        yield
    finally:
        for at in range(0, len(taken), MAX_BATCH):
            await run(client, cancel(keys, taken[at : at + MAX_BATCH]))
        await run(client, register(register_ms=0))
        await client.aclose()
        await asyncio.sleep(REMEMBERED_S)


def _admission(route: str, lane: str, deadline_ms: int) -> AdmitRequest:
    id, flow = f"{route}.{secrets.token_hex(8)}", flow_of(route, WEIGHT, "", False)
    ours: dict[str, Any] = {"route": route, "lane": lane, "flow": flow, "weight": WEIGHT, "deadline_ms": deadline_ms}
    task = Task(**ours, inbox="taken", attempts=1, budget_ms=TAKEN_FOR_MS, request_id="taken", body=b"")
    what = AdmissionClass(route, lane, flow, WEIGHT, 1000, TAKEN_FOR_MS)
    return AdmitRequest(what, id, deadline_ms, pack_task(task))


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
        drain_s: float = DRAIN_S,
        **settings: Any,
    ) -> AsyncIterator[System]:
        """Run the handlers of a package or module (a test's own: `__name__`), and end them in order.

        `overrides` puts another factory in the place of a resource's, named as in
        `Resource(…)`; `gateway` another application in the place of yours. `settings` are
        those of `floodgate.operations.settings`, in small letters; the gateway's `build`
        finds them in the environment, as it does under a server.
        """
        given = {"redis_url": self._redis_url, "namespace": self._namespace, "lease_s": LEASE_S, "handlers": handlers}
        build = pkgutil.resolve_name(gateway) if isinstance(gateway, str) else gateway
        with _environment({**given, **settings, "drain_s": LONGEST_DRAIN_S}):
            app = build()
        assert isinstance(app, GatewayApp), f"{gateway} does not return what join() returned"
        app.settings = app.settings.model_copy(update={"drain_s": drain_s})
        async with app.router.lifespan_context(app), System(app, overrides) as system:
            try:
                for _ in range(workers):
                    await system.add_worker()
                yield system
            finally:
                await system.end_workers()


@contextmanager
def _environment(settings: Mapping[str, Any]) -> Iterator[None]:
    """Put settings into the environment; undo what `join` does to the root logger, whose handlers are pytest's."""
    handlers, level = list(logging.root.handlers), logging.root.level
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(variable(name), str(value))
        yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


class System(httpx.AsyncClient):
    """A client of the gateway, and the faults that its requests may meet; a cancelled request is a client that leaves.

    `late` and `lost` happen after the handler has done its work and before its answer
    leaves: what it wrote is written, and the client does not know.
    """

    def __init__(self, app: GatewayApp, overrides: Overrides | None) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://floodgate")
        self.app, self.settings, self.registry, self.overrides = app, app.settings, app.registry, overrides
        self.workers: list[Worker] = []
        self._left: list[Worker] = []
        self._lost: dict[Function, int] = {}
        self._late: dict[Function, float] = {}
        assert app.engine, "its lifespan runs"
        self._dispatch = app.engine.dispatcher.dispatch
        app.engine.dispatcher.dispatch = self._dispatch_with_own_deadline  # type: ignore[method-assign]

    def full(self, function: Function) -> AbstractAsyncContextManager[None]:
        """Take all free places of a handler's route while the block lasts: 503."""
        return _all_places_taken(self.settings, self._handler(function))

    @asynccontextmanager
    async def late(self, function: Function, timeout_s: float = 0.5) -> AsyncIterator[None]:
        """Let a handler overrun its deadline, which is `timeout_s` in this block: 504."""
        self._late[self._handler(function).function] = timeout_s
        try:
            yield
        finally:
            del self._late[function]

    @asynccontextmanager
    async def lost(self, function: Function, times: int = 1) -> AsyncIterator[None]:
        """Lose the worker that runs a handler, `times` times: 502, or another run where it has attempts left."""
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
        worker, give_up_s = self.start_worker(), time.monotonic() + READY_S
        while not (worker.ready and self.app.engine and self.app.engine.ready):
            assert time.monotonic() < give_up_s, "a worker did not get ready; the captured log says why"
            await asyncio.sleep(0.01)
        return worker

    def start_worker(self) -> Worker:
        """Start one more worker; it may take its time to get ready."""
        self.workers.append(Worker(self.settings, self.registry, self.overrides, self._meet_faults))
        return self.workers[-1]

    async def end_workers(self) -> None:
        """Let all workers end their work and leave."""
        for worker in self.workers:
            worker.begin_drain()
        self._left, self.workers = [*self._left, *self.workers], []
        for result in await asyncio.gather(*(worker.running for worker in self._left), return_exceptions=True):
            if result is not None and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _meet_faults(self, worker: Worker, function: Function) -> None:
        if self._lost.get(function):
            self._lost[function] -= 1
            await self.lose(worker)
        await asyncio.sleep(self._late.get(function, 0))

    async def _dispatch_with_own_deadline(self, handler: Handler, payload: Payload, receive: Any) -> Any:
        if (timeout_s := self._late.get(handler.function)) is not None:
            options = dataclasses.replace(payload.options, budget_ms=round(timeout_s * 1000), has_full_budget=False)
            payload = dataclasses.replace(payload, options=options)
        return await self._dispatch(handler, payload, receive)

    def _handler(self, function: Function) -> Handler:
        for handler in self.registry.handlers:
            if handler.function is function:
                return handler
        raise LookupError(f"{function!r} is no handler of {self.settings.handlers}")


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
        client.unlink("", *client.scan_iter(match=f"{Keys(name).prefix}*", count=1000))


@pytest.fixture
def floodgate(redis_url: str, namespace: str) -> SystemFactory:
    """Return what runs your handlers behind a gateway, in a namespace of their own."""
    return SystemFactory(redis_url, namespace)

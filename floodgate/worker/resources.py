"""Opens what handlers ask for (pools, clients, models) once per process, and closes it after the drain.

A resource is opened after those it needs and closed before them. A factory that fails
is called again with back-off; what is open stays open. One task opens and closes all,
since a task group inside of a resource must be left by the task that entered it. Where
such a group fails it cancels that task: while opening, all are opened anew; later the
worker has to end. Must not know queues.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from floodgate.broker.backoff import Backoff
from floodgate.declare.registry import Handler
from floodgate.declare.resource import Resource, needs_of
from floodgate.errors import ConfigurationError
from floodgate.operations.logs import fields
from floodgate.worker.thread_pool import ThreadPool

log = logging.getLogger("floodgate.worker")

CLOSE_S = 2.0
"""How long closing all of them may take: gunicorn kills at `FLOODGATE_DRAIN_S` + 5."""
SLACK_S = 0.5
"""For a resource that does not end when it is cancelled."""

Factory = Callable[..., Any]


class Resources:
    """The resources of one worker process.

    `overrides` puts another factory in the place of one, by the factory or the
    name that the annotation gives: what a test opens instead.
    """

    def __init__(self, handlers: Iterable[Handler], overrides: Mapping[Any, Factory] | None = None) -> None:
        self._wanted = list({r.factory: r for h in handlers for r in h.resources.values()}.values())
        self._overrides = overrides or {}
        self._values: dict[Any, Any] = {}
        self._closers: list[tuple[str, Callable[[], Awaitable[Any]]]] = []
        self._threads = ThreadPool(1)
        """One, so that a sync generator is closed in the thread that opened it."""
        self._at = ""
        """Name of the resource that is being opened or closed, for the log."""
        self._all_open = asyncio.Event()
        self._leaving = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    def get(self, resource: Resource) -> Any:
        """Return the open resource."""
        return self._values[resource.factory]

    async def open(self) -> None:
        """Return when all are open; tries until cancelled, and logs why it failed."""
        self._owner = asyncio.create_task(self._own(), name="resources")
        await self._all_open.wait()

    async def failed(self) -> None:
        """Return when the resources are closed although `close` was not called."""
        assert self._owner is not None
        await asyncio.wait({self._owner})

    async def close(self) -> None:
        """Close all in reverse order, within `CLOSE_S`; what fails or hangs is logged and left behind."""
        self._leaving.set()
        if self._owner is None:
            return
        if not self._all_open.is_set():
            self._owner.cancel()
        await asyncio.wait({self._owner}, timeout=CLOSE_S + SLACK_S)
        if not self._owner.done():
            log.error("a resource cannot be stopped: left behind", extra=fields(resource=self._at))
        self._threads.close()

    async def _own(self) -> None:
        backoff = Backoff()
        while not self._leaving.is_set():
            try:
                await self._hold_open()
            except BaseException:
                # A task group that cancelled this task has undone that by now; any other cancellation is to be obeyed.
                if self._all_open.is_set() or _is_cancelled():
                    raise
                self._values.clear()
                await asyncio.sleep(backoff.next_s())

    async def _hold_open(self) -> None:
        try:
            for resource in self._wanted:
                await self._open_with_retries(resource)
            self._all_open.set()
            await self._leaving.wait()
        finally:
            await self._close_all()

    async def _open_with_retries(self, resource: Resource) -> None:
        backoff = Backoff()
        while not self._leaving.is_set():
            try:
                await self._need(resource, ())
                return
            except BaseException as error:  # a factory may raise anything, SystemExit too
                if _is_cancelled():
                    raise
                log.error("a resource did not open", exc_info=error, extra=fields(resource=self._at))
            await asyncio.sleep(backoff.next_s())

    async def _need(self, resource: Resource, needed_by: tuple[Resource, ...]) -> Any:
        key = resource.factory
        if key not in self._values:
            self._at = resource.name
            if any(key == other.factory for other in needed_by):
                cycle = " → ".join(r.name for r in (*needed_by, resource))
                raise ConfigurationError(f"resources need each other in a cycle: {cycle}; take one out")
            factory = self._overrides[key] if key in self._overrides else await self._imported(key)
            arguments = {n: await self._need(r, (*needed_by, resource)) for n, r in needs_of(factory).items()}
            self._at = resource.name
            log.info("opening a resource", extra=fields(resource=resource.name))  # logged first: it may hang
            self._values[key] = await self._enter(resource.name, factory, arguments)
        return self._values[key]

    async def _imported(self, factory: Factory | str) -> Factory:
        if not isinstance(factory, str):
            return factory
        module, _, name = factory.partition(":")
        found = getattr(await self._in_thread(lambda: importlib.import_module(module)), name, None)
        if not callable(found):
            raise ConfigurationError(f"Resource({factory!r}): {module} has no callable of the name {name}")
        return found  # type: ignore[no-any-return]

    async def _enter(self, name: str, factory: Factory, arguments: dict[str, Any]) -> Any:
        made = factory(**arguments) if _is_async(factory) else await self._in_thread(lambda: factory(**arguments))
        if inspect.isawaitable(made) and not hasattr(type(made), "__aenter__"):
            made = await made
        if inspect.isasyncgen(made):
            made = _manager(asynccontextmanager, made)
        elif inspect.isgenerator(made):
            made = _manager(contextmanager, made)
        if hasattr(type(made), "__aenter__"):
            stack = AsyncExitStack()
            value = await stack.enter_async_context(made)
            self._closers.append((name, stack.aclose))
            return value
        # Only contextlib's: locks and transactions can be entered too, and a handler wants to do that itself.
        return await self._enter_in_thread(name, made) if AbstractContextManager in type(made).__mro__ else made

    async def _enter_in_thread(self, name: str, manager: AbstractContextManager[Any]) -> Any:
        entered: list[Any] = []

        def leave() -> None:
            if entered:
                manager.__exit__(None, None, None)

        # Noted before it is entered: if a drain comes meanwhile, the thread closes it as soon as it is open.
        self._closers.append((name, lambda: self._in_thread(leave)))
        try:
            await self._in_thread(lambda: entered.append(manager.__enter__()))
        except Exception:
            self._closers.pop()
            raise
        return entered[0]

    async def _close_all(self) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + CLOSE_S
        while self._closers:
            share_s = (ends_s - loop.time()) / len(self._closers)
            self._at, close = self._closers.pop()
            try:
                async with asyncio.timeout(share_s):
                    await close()
            except BaseException as error:  # SystemExit too; the others are closed in any case
                event = "a resource did not close" if self._leaving.is_set() else "a resource failed"
                log.error(event, exc_info=error, extra=fields(resource=self._at))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        value, error = await self._threads.submit(call)
        if error is not None:
            raise error
        return value


def _is_async(factory: Factory) -> bool:
    """Tell whether a call does nothing yet, or may need the running loop, as `aiohttp.ClientSession` does."""
    plain = inspect.unwrap(factory)
    return inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain) or hasattr(factory, "__aenter__")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _manager(decorator: Callable[[Callable[[], Any]], Callable[[], Any]], generator: Any) -> Any:
    return decorator(lambda: generator)()

"""What handlers ask for (pools, clients, models): opened once per process, closed on drain.

Owns the order: what a resource needs is open before it, and closed after it. A
factory that fails is tried again with back-off; what is open stays open. Must not
know queues.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from shared.errors import ConfigurationError
from shared.logs import fields
from shared.queue.backoff import Backoff
from shared.registry import Handler
from shared.resource import Resource, resource_in
from worker_app.threads import Threads

log = logging.getLogger("floodgate.worker")

CLOSE_S = 2.0
"""How long closing all of them may take: gunicorn kills at `DRAIN_S` + 5."""

Factory = Callable[..., Any]


class Resources:
    """The open resources of one worker process.

    `overrides` puts another factory in the place of one, by the factory or the
    name that the handler's annotation gives: what a test opens instead.
    """

    def __init__(self, handlers: Iterable[Handler], overrides: Mapping[Any, Factory] | None = None) -> None:
        self._wanted = list({r.factory: r for h in handlers for r in h.resources.values()}.values())
        self._overrides = overrides or {}
        self._open: dict[Any, Any] = {}
        self._stack = AsyncExitStack()
        self._threads = Threads(1)
        """One, so that a sync generator is closed in the thread that opened it."""

    def get(self, resource: Resource) -> Any:
        """Return what the resource's factory gave."""
        return self._open[resource.factory]

    async def open(self) -> None:
        """Open all; tries for ever, says why it failed; ends by cancellation."""
        backoff = Backoff()
        for resource in self._wanted:
            while True:
                try:
                    await self._need(resource, ())
                    break
                except Exception as error:  # a factory may raise anything
                    log.error("a resource did not open", exc_info=error, extra=fields(resource=resource.name))
                    await asyncio.sleep(backoff.next_s())
            backoff.reset()

    async def close(self) -> None:
        """Close all in reverse order, within `CLOSE_S`; what fails or hangs is said and left."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._stack.aclose()
        except Exception as error:
            log.error("a resource did not close", exc_info=error)
        self._threads.close()

    async def _need(self, resource: Resource, needed_by: tuple[Resource, ...]) -> Any:
        key = resource.factory
        if key in self._open:
            return self._open[key]
        if any(key == other.factory for other in needed_by):
            circle = " → ".join(r.name for r in (*needed_by, resource))
            raise ConfigurationError(f"resources need each other in a circle: {circle}; take one out")
        factory = self._overrides.get(key) or _imported(key)
        arguments = {
            name: await self._need(needed, (*needed_by, resource)) for name, needed in _needs(resource, factory)
        }
        self._open[key] = await self._enter(factory, arguments)
        return self._open[key]

    async def _enter(self, factory: Factory, arguments: dict[str, Any]) -> Any:
        plain = inspect.unwrap(factory)
        if inspect.isgeneratorfunction(plain):
            made = contextmanager(plain)(**arguments)
            value = await self._in_thread(made.__enter__)
            self._stack.push_async_callback(self._in_thread, lambda: made.__exit__(None, None, None))
            return value
        if inspect.isasyncgenfunction(plain):
            return await self._stack.enter_async_context(asynccontextmanager(plain)(**arguments))
        if inspect.iscoroutinefunction(factory):
            value = await factory(**arguments)
        else:
            value = await self._in_thread(lambda: factory(**arguments))
        if hasattr(type(value), "__aenter__"):
            return await self._stack.enter_async_context(value)
        return await value if inspect.isawaitable(value) else value

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        value, error = await self._threads.submit(call)
        if error is not None:
            raise error
        return value


def _imported(factory: Factory | str) -> Factory:
    if not isinstance(factory, str):
        return factory
    module, _, name = factory.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    if not callable(found):
        raise ConfigurationError(f"Resource({factory!r}): write 'package.module:factory', and let it be callable")
    return found  # type: ignore[no-any-return]


def _needs(resource: Resource, factory: Factory) -> Iterable[tuple[str, Resource]]:
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except ValueError:  # a class written in C says nothing of its parameters
        return
    for parameter in parameters:
        needed = resource_in(parameter.annotation)
        if needed is not None:
            yield parameter.name, needed
        elif parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ):
            raise ConfigurationError(
                f"{resource.name} needs {parameter.name!r}, which nothing fills: give it a default or a Resource"
            )

"""The worker as a bare ASGI application: its lifespan starts the claimers, HTTP says live, ready and what is counted.

`build` is what the servers are given. Never waits for Redis itself: an exception
or a wait at start would end the master.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from floodgate.declare.discovery import check_times, discover
from floodgate.declare.registry import Registry
from floodgate.operations import supervision
from floodgate.operations.endpoints import OpsEndpoints
from floodgate.operations.logs import configure
from floodgate.operations.metrics import Snapshot
from floodgate.operations.metrics_page import MetricsPage
from floodgate.operations.settings import Settings, of_app
from floodgate.worker.runtime import WorkerRuntime

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WorkerApp:
    """Live, ready, the operators' pages, and the engine behind them."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self.engine: WorkerRuntime | None = None
        self._leaving = False
        self._gate = OpsEndpoints(
            {"metrics": MetricsPage(self._collect_metrics)}, settings.ops_token, lambda: self.ready
        )

    def begin_drain(self) -> None:
        """Take nothing more and end what runs; may be called twice, from a signal handler, and before the start."""
        self._leaving = True
        if self.engine is not None:
            self.engine.begin_drain()

    @property
    def ready(self) -> bool:
        return self.engine is not None and self.engine.ready

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._gate(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.engine = WorkerRuntime(self._settings, self._registry)  # after the fork: names are drawn here
        running = supervision.start(self.engine.run())
        if self._leaving:
            self.engine.begin_drain()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.begin_drain()
        with contextlib.suppress(Exception):  # said already
            await running
        await send({"type": "lifespan.shutdown.complete"})

    async def _collect_metrics(self) -> Snapshot:
        assert self.engine is not None
        return await self.engine.collect_metrics()


def create_app(settings: Settings, registry: Registry) -> WorkerApp:
    """Return the application for these settings and handlers."""
    return WorkerApp(settings, registry)


def build() -> WorkerApp:
    """Return the application that the environment describes."""
    configure()
    settings = of_app()
    registry = discover(settings)
    check_times(settings, registry)
    return create_app(settings, registry)

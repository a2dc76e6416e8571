"""The worker as a bare ASGI application: its lifespan runs the consumers, HTTP answers live, ready and metrics.

`build` is what `worker_app/main.py` calls. It never waits for Redis: an exception
or a wait at the start of a process would end its master.
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
    """Runs a worker while it lives, and serves the paths under `/-/`."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self.engine: WorkerRuntime | None = None
        self._leaving = False
        self._ops = OpsEndpoints(
            {"metrics": MetricsPage(self._collect_metrics)}, settings.ops_token, lambda: self.ready
        )

    def begin_drain(self) -> None:
        """Claim nothing more and end what runs; may be called twice, from a signal handler, and before the start."""
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
            await self._ops(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        # Only here, after the fork: two processes of one name would take each other's leases.
        self.engine = WorkerRuntime(self._settings, self._registry)
        running = supervision.start(self.engine.run())
        if self._leaving:
            self.engine.begin_drain()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.begin_drain()
        with contextlib.suppress(Exception):  # `supervision` has logged it
            await running
        await send({"type": "lifespan.shutdown.complete"})

    async def _collect_metrics(self) -> Snapshot:
        assert self.engine is not None
        return await self.engine.collect_metrics()


def build() -> WorkerApp:
    """Return the application that the environment describes."""
    configure()
    settings = of_app()
    registry = discover(settings)
    check_times(settings, registry)
    return WorkerApp(settings, registry)

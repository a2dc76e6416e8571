"""The whole path in one process, without HTTP: a gateway's engine and workers' engines on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request

from gateway_app.answers import Answer, Draft
from gateway_app.engine import Engine as Gateway
from gateway_app.terms import Terming
from shared.discovery import discover
from shared.settings import Settings
from worker_app.engine import Engine as Worker

START_S = 10


class Whole:
    """One gateway and any number of workers that share settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = discover(settings)
        self.gateway = Gateway(settings, self.registry)
        self.workers: list[tuple[Worker, asyncio.Task[None]]] = []
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self.gateway.run(self._stop))

    async def add_worker(self) -> Worker:
        worker = Worker(self.settings, self.registry)
        self.workers.append((worker, asyncio.create_task(worker.run())))
        async with asyncio.timeout(START_S):
            while not (worker.ready and self.gateway.ready):
                await asyncio.sleep(0.01)
        return worker

    async def ask(self, name: str, query: str = "") -> Answer:
        """Send one request of a client that stays."""
        (handler,) = (h for h in self.registry.handlers if h.name == name)
        draft = Draft("test", Terming(handler).terms(Request({"type": "http", "headers": []}), None), query=query)
        return await self.gateway.dispatcher.dispatch(handler, draft, _stays)

    async def end(self) -> None:
        for worker, _ in self.workers:
            worker.begin_drain()
        await asyncio.gather(*(task for _, task in self.workers))
        self._stop.set()
        await self._running


@asynccontextmanager
async def whole(url: str, namespace: str, workers: int = 1, **settings: Any) -> AsyncIterator[Whole]:
    """Start, wait until ready, and end in order."""
    defaults: dict[str, Any] = {"handlers": "tests.integration.wholehandlers", "lease_s": 1, "drain_s": 3}
    system = Whole(Settings(redis_url=url, namespace=namespace, **{**defaults, **settings}))
    try:
        for _ in range(workers):
            await system.add_worker()
        yield system
    finally:
        await system.end()


async def _stays() -> Any:
    await asyncio.sleep(3600)

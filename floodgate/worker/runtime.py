"""Runs everything of one worker process, and ends it in order.

One task group holds all loops; nothing is started outside of it. Ready means:
every consumer is registered at this moment, and is answered when it claims.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from floodgate.broker.clock import RedisClock
from floodgate.broker.connection import connect
from floodgate.broker.eviction import Eviction
from floodgate.broker.keys import Keys, group_of, lane_of
from floodgate.broker.reaper import reap_forever
from floodgate.broker.repair import repair_forever
from floodgate.declare.registry import ExecutorKind, Registry
from floodgate.errors import FloodgateError, WorkerFailed
from floodgate.operations.logs import fields
from floodgate.operations.metrics import Snapshot
from floodgate.operations.settings import Settings
from floodgate.worker.arguments import HandlerCall, handler_calls
from floodgate.worker.completion import CompletionBatcher
from floodgate.worker.consumer import BLOCK_S, SLACK_S, Consumer
from floodgate.worker.emitter import Emitter
from floodgate.worker.executor import Executor
from floodgate.worker.heartbeat import Heartbeat
from floodgate.worker.metrics import WorkerMetrics
from floodgate.worker.resources import Resources

log = logging.getLogger("floodgate.worker")

WATCH_S = 0.25
"""Between two looks at whether every run of an executor is stuck."""
KINDS: tuple[ExecutorKind, ...] = ("a", "s")
FLUSH_S = 2.0
"""How long the last replies may take after the work has ended."""


class WorkerRuntime:
    """Opens the resources, claims and runs tasks, and leaves at `begin_drain` or when it cannot go on."""

    def __init__(
        self, settings: Settings, registry: Registry, overrides: Mapping[Any, Callable[..., Any]] | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._draining = asyncio.Event()
        self._failure: WorkerFailed | None = None
        self._loop = asyncio.get_running_loop()
        self._client = connect(settings)
        self._pool = self._client.connection_pool
        self._keys = Keys(settings.namespace)
        self._clock = RedisClock()
        started_s = float(os.environ.get("MASTER_STARTED") or time.monotonic())
        self.metrics = WorkerMetrics(registry, settings.metrics_of("worker"), lambda: self.ready, self._update_metrics)
        self._eviction = Eviction(settings.allow_eviction, self.metrics.evicts.set, log)
        lanes = {kind: self._lanes_of(kind) for kind in KINDS}
        all_lanes = [lane for own in lanes.values() for lane in own]
        self._heartbeat = Heartbeat(
            self._client, self._keys, self._clock, settings, registry, all_lanes, started_s, self.metrics
        )
        run_here = [h for h in registry.handlers if min(h.levels) <= settings.worker_max_level]
        self._resources = Resources(run_here, overrides)
        self._open = False
        self._completions = CompletionBatcher(self._pool, self._keys, self._clock, self.metrics)
        self._emitter = Emitter(
            self._pool,
            self._keys,
            self._clock,
            self.metrics,
            flush_s=settings.stream_flush_s,
            max_item_bytes=settings.max_result_bytes,
        )
        calls = handler_calls(registry, self._resources)
        process = f"{secrets.token_hex(6)}-{group_of(all_lanes)}"
        self._consumers = [self._consumer(kind, own, calls, process) for kind, own in lanes.items() if own]

    @property
    def ready(self) -> bool:
        works = self._open and not self._draining.is_set() and all(consumer.working for consumer in self._consumers)
        return self._eviction.lets(works)

    def begin_drain(self) -> None:
        """Start to leave; may be called twice, from any context of the loop's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._draining.set)

    async def run(self) -> None:
        """Open the resources, work until the drain has ended, close them.

        Raises `WorkerFailed` after a drain that nobody asked for.
        """
        self.metrics.process.share()
        try:
            await self._open_resources()
            if self._open:
                await self._work()
            if self._failure is not None:
                raise self._failure
        finally:
            await self._resources.close()
            await self._client.aclose()
            self.metrics.process.share()

    async def _open_resources(self) -> None:
        opening = asyncio.create_task(self._resources.open())
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait({opening, draining}, return_when=asyncio.FIRST_COMPLETED)
            self._open = opening.done()
        finally:
            opening.cancel()
            draining.cancel()
            await asyncio.wait({opening, draining})

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(consumer.run(), name=consumer.name) for consumer in self._consumers]
            loops = [
                group.create_task(reap_forever(self._client, self._keys, self._settings, log, self.metrics.reaps)),
                group.create_task(repair_forever(self._client, self._keys, log, self.metrics.reaps)),
                group.create_task(self.metrics.process.run()),
                group.create_task(self._completions.run()),
                group.create_task(self._emitter.run()),
                *(group.create_task(self._heartbeat.run(consumer)) for consumer in self._consumers),
                group.create_task(self._watch_runs()),
                group.create_task(self._watch_resources()),
            ]
            await self._draining.wait()
            await self._drain(claims)
            for loop in (*loops, *claims):
                loop.cancel()

    async def _watch_runs(self) -> None:
        """Leave when an executor has been stuck for `FLOODGATE_STUCK_S`; the next process has new threads."""
        since_s = time.monotonic()
        while time.monotonic() - since_s < self._settings.stuck_s:
            await asyncio.sleep(WATCH_S)
            if not any(consumer.executor.stuck for consumer in self._consumers):
                since_s = time.monotonic()
        self._fail("all runs of an executor have been past their deadline for FLOODGATE_STUCK_S")

    async def _watch_resources(self) -> None:
        await self._resources.failed()
        self._fail("a resource failed in the background; the log has the reason")

    def _fail(self, reason: str) -> None:
        """Leave as in any drain, and say afterwards that it was a failure."""
        if not self._draining.is_set():
            self._failure = WorkerFailed(reason)
            log.error("this worker cannot go on and leaves", extra=fields(reason=reason))
            self._draining.set()

    async def collect_metrics(self) -> Snapshot:
        """Return what the processes behind this port have counted."""
        return await self.metrics.process.collect()

    def _update_metrics(self) -> None:
        for consumer in self._consumers:
            executor = consumer.executor
            self.metrics.concurrency[executor.kind].set(executor.concurrency)
            self.metrics.used[executor.kind].set(len(executor.runs))
            self.metrics.overdue[executor.kind].set(executor.overdue)

    async def _drain(self, claims: Sequence[asyncio.Task[None]]) -> None:
        log.info("draining", extra=fields(running=sum(len(c.executor.runs) for c in self._consumers)))
        for consumer in self._consumers:
            with contextlib.suppress(FloodgateError):
                await consumer.leave()
        if claims:  # a claim under way may still bring tasks, which are run like all others
            await asyncio.wait(claims, timeout=BLOCK_S + SLACK_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                for consumer in self._consumers:
                    if not consumer.executor.stuck:  # else nobody waits for what it runs
                        await consumer.executor.idle()
        for consumer in self._consumers:
            with contextlib.suppress(FloodgateError):
                await consumer.requeue()
            consumer.executor.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._completions.flushed()

    def _consumer(
        self, kind: ExecutorKind, lanes: Sequence[str], calls: Mapping[str, HandlerCall], process: str
    ) -> Consumer:
        settings = self._settings
        concurrency = settings.worker_concurrency if kind == "a" else settings.worker_threads
        return Consumer(
            self._pool,
            self._keys,
            self._clock,
            Executor(kind, concurrency, calls, settings.max_result_bytes, self._completions, self._emitter),
            self._completions,
            self._heartbeat,
            process=process,
            release=self._registry.release_digest,
            lanes=lanes,
            lease_ms=settings.lease_ms,
            metrics=self.metrics,
            eviction=self._eviction,
        )

    def _lanes_of(self, kind: ExecutorKind) -> list[str]:
        most = self._settings.worker_max_level
        levels = {level for h in self._registry.handlers if h.kind == kind for level in h.levels if level <= most}
        return [lane_of(self._registry.release_digest, kind, level) for level in sorted(levels)]

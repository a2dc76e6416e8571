"""Builds and runs everything of a gateway process beside HTTP: one task group, started and ended by the lifespan.

Never waits for Redis at start. Ready means: the two hot connections are open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time

from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import Call, declare
from floodgate.broker.connection import connect, run
from floodgate.broker.eviction import Eviction
from floodgate.broker.keys import Keys, lane_of
from floodgate.broker.pipeline import Pipeline
from floodgate.broker.reaper import reap_forever
from floodgate.broker.repair import repair_forever
from floodgate.declare.head import Rate
from floodgate.declare.registry import Registry
from floodgate.errors import FloodgateError
from floodgate.gateway.admission import AdmissionBatcher
from floodgate.gateway.async_results import AsyncResults
from floodgate.gateway.cancellation import CancelBatcher
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.dead_letters import DeadLetters
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.idempotency import KeptAnswers
from floodgate.gateway.inbox import Inbox
from floodgate.gateway.metrics import GatewayMetrics
from floodgate.gateway.queue_metrics import QueueMetrics
from floodgate.gateway.rate_limit import RateLimiter
from floodgate.gateway.reconciler import Reconciler
from floodgate.gateway.streaming import Streams
from floodgate.gateway.worker_directory import WorkerDirectory
from floodgate.operations.logs import fields
from floodgate.operations.metrics import Snapshot
from floodgate.operations.settings import Settings
from floodgate.operations.supervision import end

log = logging.getLogger("floodgate.gateway")

REFRESH_S = 1.0
CALL_S = 2.0


class GatewayRuntime:
    """One gateway process."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self.draining = False
        self._ended = False
        self._client = connect(settings)
        self._pool = self._client.connection_pool
        self._started_s = float(os.environ.get("MASTER_STARTED") or time.monotonic())
        self.metrics = GatewayMetrics(
            registry, settings.metrics_of("gateway"), lambda: self.ready, self._update_metrics
        )
        self._eviction = Eviction(settings.allow_eviction, self.metrics.evicts.set, log)
        rate = None if settings.rate_per_s is None else Rate(settings.rate_burst, settings.rate_per_s)
        self._context = context = GatewayContext(
            settings,
            registry,
            self._client,
            Keys(settings.namespace),
            RedisClock(),
            self.metrics,
            RateLimiter(registry, rate),
            secrets.token_hex(8),
        )
        self._keys, self._clock = context.keys, context.clock
        self._directory = WorkerDirectory(context)
        self._admit_pipeline = Pipeline(self._pool, self)
        self._inbox_pipeline = Pipeline(self._pool, self)
        self.results = AsyncResults(self._client, self._keys)
        self._kept_answers = KeptAnswers(context, self.results)
        self._cancels = CancelBatcher(context)
        self._admission = AdmissionBatcher(
            context, self._admit_pipeline, self._directory, self._kept_answers, self._cancels
        )
        self._streams = Streams(context, Pipeline(self._pool))
        self.dispatcher = Dispatcher(
            context,
            self._directory,
            self.results,
            self._kept_answers,
            self._admission,
            self._cancels,
            self._streams,
        )
        self.dead_letters = DeadLetters(context, self._directory)
        inbox_key = self._keys.inbox(context.process)
        self._inbox = Inbox(self._inbox_pipeline, inbox_key, self.dispatcher, self.metrics.replies)
        self._reconciler = Reconciler(Pipeline(self._pool), self._keys, self._inbox, self.dispatcher)
        self._queue_metrics = QueueMetrics(context, Pipeline(self._pool), self._directory)

    @property
    def ready(self) -> bool:
        serves = not (self.draining or self._ended) and self._admit_pipeline.is_open and self._inbox_pipeline.is_open
        return self._eviction.lets(serves)

    def begin_drain(self) -> None:
        """Say not ready, end kept-alive connections; answer whoever still waits when the drain is over."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if not self.draining:
            self.draining = True
            log.info("draining", extra=fields(waiting=len(self.dispatcher.waiting())))
            self._loop.call_later(self._settings.shutdown_delay_s + self._settings.drain_s, self.dispatcher.give_up)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set; when a loop fails, whoever waits is answered at once, and nobody waits any more."""
        loops = (
            self._admission.run(),
            self._inbox.run(),
            self._cancels.run(),
            self._streams.run(),
            self._reconciler.run(),
            self._refresh_forever(),
            reap_forever(self._client, self._keys, self._settings, log, self.metrics.reaps, self._context.process),
            repair_forever(self._client, self._keys, log, self.metrics.reaps),
            self.metrics.process.run(),
            self.results.watch_forever(self._context.rate_limiter, self._settings.results_bytes),
            self._kept_answers.watch_forever(self._settings.idempotency_max_bytes),
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop) for loop in loops]
                await stop.wait()
                await end(tasks)
        finally:
            self._ended = True
            self.dispatcher.close()
            await self._client.aclose()
            self.metrics.process.share()  # also after a loop that failed: what was counted is not lost with it

    async def collect_metrics(self) -> Snapshot:
        """Return what the processes behind this port have counted, and what Redis holds."""
        held = await self._queue_metrics.read()
        found = await self.metrics.process.collect()
        found.add(held)
        return found

    def _update_metrics(self) -> None:
        self.metrics.open.set(len(self.dispatcher.waiting()))
        self.metrics.unclaimed.value = self._inbox.unclaimed

    async def on_open(self, pipeline: Pipeline) -> None:
        """Prepare one of the two hot connections; what was under way on the one before is asked after."""
        is_admit = pipeline is self._admit_pipeline
        self.metrics.connects.opened("admit" if is_admit else "inbox")
        self._directory.interrupted()
        if is_admit:
            await self._eviction.look(pipeline)
            # Before anything is admitted: after a loss of data, `reap` walks only the routes that are declared.
            if not self._clock.known:
                await self._directory.refresh()
            self._clock.observe(await pipeline.run(self._declaration(), CALL_S))
            await self._directory.refresh()
        else:
            await self._inbox.check(pipeline)
        self._reconciler.reconcile_all()

    async def _refresh_forever(self) -> None:
        """Refresh the directory every `REFRESH_S`, whatever becomes of one round: its end would end the gateway."""
        while True:
            try:
                await self._refresh()
            except FloodgateError as error:
                self._directory.interrupted()
                log.debug("the directory of workers was not refreshed", extra=fields(reason=str(error)))
            await asyncio.sleep(REFRESH_S)

    async def _refresh(self) -> None:
        if not await self._directory.refresh():
            self._clock.observe(await run(self._client, self._declaration()))  # the data were lost: begin anew
        elif (self._directory.disagreed or self._admission.doubts_declaration) and self._admit_pipeline.is_open:
            # `reap` forgets lanes that nobody serves, by which workers learn of gateways, and malformed limits.
            self._admission.doubts_declaration = False
            await run(self._client, self._declaration())
        if self._directory.strands:
            await self.dispatcher.move_stranded()

    def _declaration(self) -> Call[int]:
        handlers, release = self._registry.handlers, self._registry.release_digest
        return declare(
            self._keys,
            started_ms=self._clock.at_ms(self._started_s),
            limits={h.route: (h.max_concurrency, h.admission.max_running or 0) for h in handlers},
            lanes=sorted({lane_of(release, h.kind, level) for h in handlers for level in h.levels}),
        )

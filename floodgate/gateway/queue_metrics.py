"""What Redis holds at this moment: waiting, running and limit of each route, workers and their concurrency.

Asked when somebody scrapes, in one pipeline without a script, and not waited for long:
without Redis the other metrics are shown all the same. Every gateway shows the same,
so over several of them the maximum is meant.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from floodgate.broker.commands import Argument
from floodgate.broker.decoding import number
from floodgate.broker.pipeline import Pipeline
from floodgate.declare.registry import Handler
from floodgate.errors import Unavailable
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.metrics import ROUTE
from floodgate.gateway.worker_directory import WorkerDirectory
from floodgate.operations.metrics import Metric, Snapshot

WAITING = Metric("floodgate_waiting", "gauge", "Tasks in the system that do not run, those held back included.", ROUTE)
RUNNING = Metric("floodgate_running", "gauge", "Tasks that run.", ROUTE)
PARKED = Metric("floodgate_parked", "gauge", "Of the waiting ones, those that max_running holds back.", ROUTE)
STRANDED = Metric("floodgate_stranded", "gauge", "202s whose workers left and that no others take.", ROUTE)
LIMIT = Metric("floodgate_limit", "gauge", "Tasks that may be in the system; 0 is paused.", ROUTE)
WORKERS = Metric("floodgate_workers", "gauge", "Worker processes that are registered, of all releases.")
CONCURRENCY = Metric("floodgate_concurrency", "gauge", "Tasks that they can run at once.", ("kind",))
USED = Metric("floodgate_concurrency_used", "gauge", "Tasks of this registry's routes that run, by kind.", ("kind",))
DEAD_LETTERS = Metric(
    "floodgate_dead_letters", "gauge", "Tasks lost after their last attempt, of which a copy is kept."
)
UP = Metric("floodgate_redis_up", "gauge", "Whether Redis answered this scrape.")

CALL_S = 1.0
KINDS = {"a": "async", "s": "sync"}


class QueueMetrics:
    """Reads them for one gateway process."""

    def __init__(self, context: GatewayContext, pipeline: Pipeline, directory: WorkerDirectory) -> None:
        self._keys = context.keys
        self._clock = context.clock
        self._handlers = context.registry.handlers
        self._pipeline = pipeline
        self._directory = directory
        self._turn = asyncio.Lock()

    async def read(self) -> Snapshot:
        """Return what Redis says, or only that it says nothing."""
        found = Snapshot()
        try:
            async with asyncio.timeout(CALL_S), self._turn:
                await self._pipeline.open()
                replies = await self._pipeline.execute(self._commands(), CALL_S)
        except (Unavailable, TimeoutError, LookupError):
            found.put(UP, (), (0,))
            return found
        found.put(UP, (), (1,))
        rest = iter(replies)
        used: Counter[str] = Counter()
        for handler in self._handlers:
            slots, running, parked, stranded, limits = (next(rest) for _ in range(5))
            self._put_route(found, handler, number(slots), number(running), number(parked), limits)
            if handler.admission.async_timeout_s is not None:
                found.put(STRANDED, (handler.method, handler.path), (number(stranded),))
            used[handler.kind] += number(running)
        found.put(DEAD_LETTERS, (), (number(next(rest)),))
        self._put_workers(found, [*rest], used)
        return found

    def _commands(self) -> list[tuple[Argument, ...]]:
        keys = self._keys
        commands: list[tuple[Argument, ...]] = []
        for handler in self._handlers:
            route = handler.route
            commands += [
                ("ZCARD", keys.slots(route)),
                ("ZCARD", keys.running(route)),
                ("ZCARD", keys.parked(route)),
                ("ZCARD", keys.stranded(route)),
                ("HMGET", keys.statistics(route), "limit", "override"),
            ]
        now_ms = self._clock.now_ms()
        return [
            *commands,
            ("XLEN", keys.dead()),
            *(("ZRANGEBYSCORE", keys.serving(lane), f"({now_ms}", "+inf") for lane in self._directory.names),
        ]

    def _put_route(
        self, found: Snapshot, handler: Handler, slots: int, running: int, parked: int, limits: object
    ) -> None:
        labels = (handler.method, handler.path)
        found.put(WAITING, labels, (max(0, slots - running),))  # counted one after the other: they may disagree
        found.put(RUNNING, labels, (running,))
        if handler.admission.max_running is not None:
            found.put(PARKED, labels, (parked,))
        declared, override = limits if isinstance(limits, list) else (None, None)
        if (limit := override or declared) is not None:
            found.put(LIMIT, labels, (number(limit),))

    def _put_workers(self, found: Snapshot, lanes: list[object], used: Counter[str]) -> None:
        consumers = {name for lane in lanes if isinstance(lane, list) for name in lane}
        concurrency: Counter[str] = Counter()
        processes = set()
        for consumer in consumers:  # `<process>-<lease_ms>.<kind>.<concurrency>`
            process, kind, count = [*consumer.decode("ascii", "replace").split("."), "", ""][:3]
            processes.add(process)
            concurrency[kind] += number(count)
        found.put(WORKERS, (), (len(processes),))
        for kind, label in KINDS.items():
            found.put(CONCURRENCY, (label,), (concurrency[kind],))
            found.put(USED, (label,), (used[kind],))

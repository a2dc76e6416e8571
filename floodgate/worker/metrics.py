"""What a worker process counts: runs by route, its concurrency, and its calls of Redis.

One object per process. Must not know how the numbers are kept or shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from floodgate.broker.call_metrics import Calls, Connects, Reaps
from floodgate.broker.envelopes import TaskOutcome
from floodgate.declare.registry import Registry
from floodgate.operations.metrics import EVICTS, SECONDS, Metric, Metrics
from floodgate.operations.metrics_files import ProcessMetrics

ROUTE = ("method", "route")
STARTED = Metric("floodgate_tasks_started_total", "counter", "Tasks claimed and handed to their handler.", ROUTE)
ENDED = Metric(
    "floodgate_tasks_ended_total",
    "counter",
    "Runs by outcome; stopped: nobody waited any more; requeued: not ended when the worker left.",
    (*ROUTE, "outcome"),
)
RUN_SECONDS = Metric(
    "floodgate_task_run_seconds", "histogram", "How long runs took, however they ended.", ROUTE, SECONDS
)
CONCURRENCY = Metric("floodgate_worker_concurrency", "gauge", "Tasks that these processes can run at once.", ("kind",))
USED = Metric("floodgate_worker_concurrency_used", "gauge", "Tasks that run in these processes.", ("kind",))
OVERDUE = Metric(
    "floodgate_worker_concurrency_overdue", "gauge", "Of the running tasks, those past their deadline.", ("kind",)
)
GONE = Metric("floodgate_leases_gone_total", "counter", "Leases that ended here while their task still ran.")
MALFORMED = Metric(
    "floodgate_tasks_malformed_total", "counter", "What was claimed and cannot be read as a task of this registry."
)

KINDS = {"a": "async", "s": "sync"}
STOPPED = "stopped"
REQUEUED = "requeued"
OUTCOMES = (
    *(outcome.value for outcome in (TaskOutcome.DONE, TaskOutcome.FAILED, TaskOutcome.EXPIRED)),
    STOPPED,
    REQUEUED,
)


class TaskMetrics:
    """Counts the runs of one route's tasks."""

    __slots__ = ("_outcomes", "_run", "_started")

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self._started = metrics.counter(STARTED, method, route)
        self._outcomes = {outcome: metrics.counter(ENDED, method, route, outcome) for outcome in OUTCOMES}
        self._run = metrics.histogram(RUN_SECONDS, method, route)

    def started(self) -> None:
        self._started.add()

    def ended(self, outcome: str, run_s: float) -> None:
        self._outcomes[outcome].add()
        self._run.observe(run_s)


class WorkerMetrics:
    """Counts what one worker process does."""

    def __init__(
        self, registry: Registry, directory: Path | None, is_ready: Callable[[], bool], update: Callable[[], None]
    ) -> None:
        metrics = Metrics()
        self.routes = {h.route: TaskMetrics(metrics, h.method, h.path) for h in registry.handlers}
        self.concurrency = {kind: metrics.gauge(CONCURRENCY, label) for kind, label in KINDS.items()}
        self.used = {kind: metrics.gauge(USED, label) for kind, label in KINDS.items()}
        self.overdue = {kind: metrics.gauge(OVERDUE, label) for kind, label in KINDS.items()}
        self.claims, self.completes = Calls(metrics, "claim"), Calls(metrics, "complete")
        self.renewals, self.emits = Calls(metrics, "renew"), Calls(metrics, "emit")
        self.gone = metrics.counter(GONE)
        self.malformed = metrics.counter(MALFORMED)
        self.connects = Connects(metrics, "claim", "complete", "emit")
        self.reaps = Reaps(metrics)
        self.evicts = metrics.gauge(EVICTS)
        self.process = ProcessMetrics(metrics, directory, is_ready, update)

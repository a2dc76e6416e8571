"""What a worker process counts: tasks by route, its places, and what happens between it and Redis.

One object per process; the few places that know call it. Must not know how figures
are kept or shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from floodgate.broker.call_metrics import Calls, Connects, Reaps
from floodgate.broker.envelopes import TaskOutcome
from floodgate.declare.registry import Registry
from floodgate.operations.metrics.families import EVICTS, SECONDS, Family
from floodgate.operations.metrics.ledger import Counter, Histogram, Ledger
from floodgate.operations.metrics.vitals import Vitals

ROUTE = ("method", "route")
STARTED = Family("floodgate_tasks_started_total", "counter", "Tasks claimed and handed to their handler.", ROUTE)
ENDED = Family(
    "floodgate_tasks_ended_total",
    "counter",
    "Runs by outcome; stopped: nobody waited any more; given_back: not ended when the worker left.",
    (*ROUTE, "outcome"),
)
RUN_SECONDS = Family(
    "floodgate_task_run_seconds", "histogram", "How long runs took, however they ended.", ROUTE, SECONDS
)
PLACES = Family("floodgate_worker_places", "gauge", "Tasks that these processes can run at once.", ("kind",))
BUSY = Family("floodgate_worker_places_busy", "gauge", "Tasks that run in these processes.", ("kind",))
OVERDUE = Family(
    "floodgate_worker_places_overdue", "gauge", "Of the busy places, those held by runs past their deadline.", ("kind",)
)
GONE = Family("floodgate_leases_gone_total", "counter", "Leases that ended here while their task still ran.")
UNREADABLE = Family("floodgate_tasks_unreadable_total", "counter", "What was claimed and is no task of this registry.")

KINDS = {"a": "async", "s": "sync"}
STOPPED = "stopped"
GIVEN_BACK = "given_back"
OUTCOMES = (
    *(outcome.value for outcome in (TaskOutcome.DONE, TaskOutcome.FAILED, TaskOutcome.EXPIRED)),
    STOPPED,
    GIVEN_BACK,
)


class TaskMeter:
    """The series of one route's tasks."""

    __slots__ = ("_outcomes", "_run", "_started")

    def __init__(self, ledger: Ledger, method: str, route: str) -> None:
        self._started = ledger.counter(STARTED, method, route)
        self._outcomes: dict[str, Counter] = {o: ledger.counter(ENDED, method, route, o) for o in OUTCOMES}
        self._run: Histogram = ledger.histogram(RUN_SECONDS, method, route)

    def started(self) -> None:
        self._started.add()

    def ended(self, outcome: str, run_s: float) -> None:
        self._outcomes[outcome].add()
        self._run.observe(run_s)


class WorkerMetrics:
    """What one worker process counts."""

    def __init__(
        self, registry: Registry, directory: Path | None, is_ready: Callable[[], bool], take: Callable[[], None]
    ) -> None:
        self.ledger = ledger = Ledger()
        self.routes = {h.route: TaskMeter(ledger, h.method, h.path) for h in registry.handlers}
        self.places = {kind: ledger.gauge(PLACES, label) for kind, label in KINDS.items()}
        self.busy = {kind: ledger.gauge(BUSY, label) for kind, label in KINDS.items()}
        self.overdue = {kind: ledger.gauge(OVERDUE, label) for kind, label in KINDS.items()}
        self.claims, self.completes = Calls(ledger, "claim"), Calls(ledger, "complete")
        self.renewals = Calls(ledger, "renew")
        self.gone = ledger.counter(GONE)
        self.unreadable = ledger.counter(UNREADABLE)
        self.connects = Connects(ledger, "claim", "complete")
        self.reaps = Reaps(ledger)
        self.evicts = ledger.gauge(EVICTS)
        self.vitals = Vitals(ledger, is_ready, take)
        ledger.open(directory)

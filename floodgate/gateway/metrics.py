"""What a gateway process counts: requests by route, and its calls of Redis.

One object per process. Label values are the routes' templates and the labels of
`Failure`, so their number does not depend on who asks. Must not know how the
numbers are kept or shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from floodgate.broker.call_metrics import Calls, Connects, Reaps
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.outcomes import Failure
from floodgate.operations.metrics import EVICTS, SECONDS, Counter, Metric, Metrics
from floodgate.operations.metrics_files import ProcessMetrics

ROUTE = ("method", "route")
OFFERED = Metric("floodgate_requests_offered_total", "counter", "Requests to a queued route, and calls of it.", ROUTE)
ADMITTED = Metric("floodgate_requests_admitted_total", "counter", "Of these, those that got a slot.", ROUTE)
REFUSED = Metric(
    "floodgate_requests_refused_total",
    "counter",
    "Refusals by reason; by memory: without asking Redis.",
    (*ROUTE, "reason", "by"),
)
ENDED = Metric(
    "floodgate_requests_ended_total", "counter", "Requests that were not refused, by outcome.", (*ROUTE, "outcome")
)
RESPONSES = Metric(
    "floodgate_responses_total",
    "counter",
    "Answers by class of status, none where no answer began; route (other) is what is not queued.",
    (*ROUTE, "status"),
)
TOTAL_SECONDS = Metric(
    "floodgate_request_seconds",
    "histogram",
    "From a request's head to its whole answer sent; refusals apart; without clients that left.",
    (*ROUTE, "answer"),
    SECONDS,
)
WAIT_SECONDS = Metric(
    "floodgate_wait_seconds", "histogram", "Of answered ones: from the gateway to the start of the run.", ROUTE, SECONDS
)
RUN_SECONDS = Metric("floodgate_run_seconds", "histogram", "Of answered ones: how long they ran.", ROUTE, SECONDS)
OPEN = Metric("floodgate_requests_open", "gauge", "Requests that wait in these processes for their answer.")
UNCLAIMED = Metric("floodgate_replies_unclaimed_total", "counter", "Replies that nobody waited for any more.")

OTHER = "(other)"
"""As method and route of what is not queued; no template begins so."""
REFUSALS = [failure for failure in Failure if failure.is_refusal]
_OWN = {failure.label: failure.label for failure in Failure if not failure.is_refusal}
OUTCOMES = {"": "rejected"} | {name: name for name in ("done", "accepted", "joined", "replayed")} | _OWN
"""How an outcome is called here; what has none never came to the queue: 401, 413, 422."""
_UNTIMED = {"", Failure.CLIENT_LEFT.label, *(f.label for f in Failure if f.row.status in (400, 422))}
"""Outcomes whose client did not wait for the queue, or got no answer."""
_MS = tuple(bound * 1000 for bound in SECONDS)


class RouteMetrics:
    """Counts the requests of one queued route; `ended` is called for every request, so it is written for speed."""

    __slots__ = ("_by_memory", "_by_queue", "_no_status", "_offered", "_run", "_statuses", "_totals", "_wait")

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self._offered = metrics.counter(OFFERED, method, route)
        self._statuses, self._no_status = _statuses(metrics, method, route)
        ended = {outcome: metrics.counter(ENDED, method, route, label) for outcome, label in OUTCOMES.items()}
        self._by_queue, self._by_memory = (
            ended | {f.label: metrics.counter(REFUSED, method, route, f.label, by) for f in REFUSALS}
            for by in ("queue", "memory")
        )
        answered, refused = (metrics.histogram(TOTAL_SECONDS, method, route, a) for a in ("answered", "refused"))
        self._totals = {outcome: answered for outcome in OUTCOMES if outcome not in _UNTIMED}
        self._totals |= {f.label: refused for f in REFUSALS}
        self._wait = metrics.histogram(WAIT_SECONDS, method, route)
        self._run = metrics.histogram(RUN_SECONDS, method, route)

    def offered(self) -> None:
        self._offered.value += 1

    def ended(self, status: int, outcome: str, by_memory: bool, wait_ms: int, run_ms: int, total_s: float) -> None:
        """Count a request that has been answered, or that will not be."""
        self._statuses.get(status // 100, self._no_status).value += 1
        if (total := self._totals.get(outcome)) is not None:
            total.counts[bisect_left(SECONDS, total_s)] += 1
            total.sum += total_s
        self.settled(outcome, by_memory, wait_ms, run_ms)

    def settled(self, outcome: str, by_memory: bool, wait_ms: int, run_ms: int) -> None:
        """Count what became of a request, or of a call from a plain route, which has no status of its own."""
        (self._by_memory if by_memory else self._by_queue)[outcome].value += 1
        if outcome == "done":
            wait, run = self._wait, self._run
            wait.counts[bisect_left(_MS, wait_ms)] += 1
            wait.sum += wait_ms / 1000
            run.counts[bisect_left(_MS, run_ms)] += 1
            run.sum += run_ms / 1000


class GatewayMetrics:
    """Counts what one gateway process does."""

    def __init__(
        self, registry: Registry, directory: Path | None, is_ready: Callable[[], bool], update: Callable[[], None]
    ) -> None:
        metrics = Metrics()
        self._routes = {h.route: RouteMetrics(metrics, h.method, h.path) for h in registry.handlers}
        self._admitted = {h.route: metrics.counter(ADMITTED, h.method, h.path) for h in registry.handlers}
        self._others, self._no_other = _statuses(metrics, OTHER, OTHER)
        self.open = metrics.gauge(OPEN)
        self.unclaimed = metrics.counter(UNCLAIMED)
        self.admits, self.replies = Calls(metrics, "admit"), Calls(metrics, "replies")
        self.cancels = Calls(metrics, "cancel")
        self.acknowledgements = Calls(metrics, "acknowledge")
        self.connects = Connects(metrics, "admit", "inbox")
        self.reaps = Reaps(metrics)
        self.evicts = metrics.gauge(EVICTS)
        self.process = ProcessMetrics(metrics, directory, is_ready, update)

    def of(self, handler: Handler) -> RouteMetrics:
        return self._routes[handler.route]

    def admitted(self, handler: Handler) -> None:
        """Count an admission."""
        self._admitted[handler.route].value += 1

    def other(self, status: int) -> None:
        """Count an answer to what is not queued."""
        self._others.get(status // 100, self._no_other).value += 1


def _statuses(metrics: Metrics, method: str, route: str) -> tuple[dict[int, Counter], Counter]:
    counters = {first: metrics.counter(RESPONSES, method, route, f"{first}xx") for first in range(2, 6)}
    return counters, metrics.counter(RESPONSES, method, route, "none")

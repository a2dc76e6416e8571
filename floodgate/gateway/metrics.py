"""What a gateway process counts: requests by route, and its calls of Redis.

One object per process. Label values are the routes' templates and the labels of
`Failure`, so their number does not depend on who asks. Must not know how the
numbers are kept or shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from floodgate.broker.call_metrics import Calls, Connects, Reaps
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.outcomes import Failure, Outcome
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
OUTCOMES = {
    "done": "done",
    "accepted": "accepted",
    "joined": "joined",
    "replayed": "replayed",
    "": "rejected",
    **{failure.label: failure.label for failure in Failure if not failure.is_refusal},
}
"""How an outcome is called here; what has none never came to the queue: 401, 413, 422."""
_DONE = "done"
_TIMED = {"accepted", "joined", "replayed", *(f.label for f in Failure if f.row.status >= 500 and not f.is_refusal)}
"""Outcomes beside it whose client waited for the queue, and got an answer."""
_CLASSES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_NONE = "none"
_MS = tuple(bound * 1000 for bound in SECONDS)


class EndedRequest(Protocol):
    """Says what has become of a request; the middleware's `RequestRecord` is one."""

    @property
    def status(self) -> int: ...
    @property
    def outcome(self) -> str: ...
    @property
    def by_memory(self) -> bool:
        """Tell whether it was refused without asking Redis."""

    @property
    def wait_ms(self) -> int: ...
    @property
    def run_ms(self) -> int: ...


class RouteMetrics:
    """Counts the requests of one queued route; `ended` is called for every request, so it is written for speed."""

    __slots__ = (
        "_answered",
        "_by_memory",
        "_by_queue",
        "_no_status",
        "_offered",
        "_refused",
        "_run",
        "_statuses",
        "_wait",
    )

    def __init__(self, metrics: Metrics, method: str, route: str) -> None:
        self._offered = metrics.counter(OFFERED, method, route)
        self._statuses, self._no_status = _statuses(metrics, method, route)
        ended = {outcome: metrics.counter(ENDED, method, route, label) for outcome, label in OUTCOMES.items()}
        self._by_queue, self._by_memory = (
            ended | {f.label: metrics.counter(REFUSED, method, route, f.label, by) for f in REFUSALS}
            for by in ("queue", "memory")
        )
        self._answered, self._refused = (
            metrics.histogram(TOTAL_SECONDS, method, route, answer) for answer in ("answered", "refused")
        )
        self._wait = metrics.histogram(WAIT_SECONDS, method, route)
        self._run = metrics.histogram(RUN_SECONDS, method, route)

    def offered(self) -> None:
        self._offered.value += 1

    def ended(self, request: EndedRequest, total_s: float) -> None:
        """Count a request that has been answered, or that will not be."""
        outcome = request.outcome
        self._statuses.get(request.status // 100, self._no_status).value += 1
        (self._by_memory if request.by_memory else self._by_queue)[outcome].value += 1
        if outcome in OUTCOMES:
            if outcome != _DONE and outcome not in _TIMED:
                return
            total = self._answered
        else:
            total = self._refused
        total.counts[bisect_left(SECONDS, total_s)] += 1
        total.sum += total_s
        if outcome == _DONE:
            self._ran(request.wait_ms, request.run_ms)

    def called(self, answer: Outcome, by_memory: bool) -> None:
        """Count a call from a plain route, which has no status of its own."""
        (self._by_memory if by_memory else self._by_queue)[answer.outcome].value += 1
        if answer.outcome == _DONE and answer.reply is not None:
            self._ran(answer.reply.wait_ms, answer.reply.run_ms)

    def _ran(self, wait_ms: int, run_ms: int) -> None:
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
    counters = {first: metrics.counter(RESPONSES, method, route, label) for first, label in _CLASSES.items()}
    return counters, metrics.counter(RESPONSES, method, route, _NONE)

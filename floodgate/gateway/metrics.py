"""What a gateway process counts: requests by route, and what happens between it and Redis.

One object per process; the few places that know call it. Label values are the
routes' templates and the labels of `Failure`, so their number does not depend on
who asks. Must not know how figures are kept or shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from floodgate.broker.call_metrics import Calls, Connects, Reaps
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.operations.metrics.families import EVICTS, SECONDS, Family
from floodgate.operations.metrics.ledger import Ledger
from floodgate.operations.metrics.vitals import Vitals

ROUTE = ("method", "route")
OFFERED = Family("floodgate_requests_offered_total", "counter", "Requests to a queued route, and calls of it.", ROUTE)
ADMITTED = Family("floodgate_requests_admitted_total", "counter", "Of these, those that got a slot.", ROUTE)
REFUSED = Family(
    "floodgate_requests_refused_total",
    "counter",
    "Refusals by reason; by memory: without asking Redis.",
    (*ROUTE, "reason", "by"),
)
ENDED = Family(
    "floodgate_requests_ended_total", "counter", "Requests that were not refused, by outcome.", (*ROUTE, "outcome")
)
RESPONSES = Family(
    "floodgate_responses_total",
    "counter",
    "Answers by class of status, none where no answer began; route (other) is what is not queued.",
    (*ROUTE, "status"),
)
TOTAL_SECONDS = Family(
    "floodgate_request_seconds",
    "histogram",
    "From a request's head to its whole answer sent; refusals apart; without clients that left.",
    (*ROUTE, "answer"),
    SECONDS,
)
WAIT_SECONDS = Family(
    "floodgate_wait_seconds", "histogram", "Of answered ones: from the gateway to the start of the run.", ROUTE, SECONDS
)
RUN_SECONDS = Family("floodgate_run_seconds", "histogram", "Of answered ones: how long they ran.", ROUTE, SECONDS)
OPEN = Family("floodgate_requests_open", "gauge", "Requests that wait in these processes for their answer.")
UNCLAIMED = Family("floodgate_replies_unclaimed_total", "counter", "Replies that nobody waited for any more.")

OTHER = "(other)"
"""As method and route of what is not queued; no template begins so."""
REFUSALS = [failure for failure in Failure if failure.is_refusal]
OUTCOMES = {
    "done": "done",
    "accepted": "accepted",
    "": "rejected",
    **{failure.label: failure.label for failure in Failure if not failure.is_refusal},
}
"""How an outcome is called here; what has none never came to the queue: 401, 413, 422."""
_DONE = "done"
_TIMED = {"accepted", *(f.label for f in Failure if not f.is_refusal and f is not Failure.CLIENT_LEFT)}
"""Outcomes beside it whose client waited for the queue, and got an answer."""
_CLASSES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
_NONE = "none"
_MS = tuple(bound * 1000 for bound in SECONDS)
_SUM = len(SECONDS) + 1


class Fate(Protocol):
    """What has become of a request."""

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


class RouteMeter:
    """The series of one queued route; `ended` is called for every request, so it is written for speed."""

    __slots__ = (
        "_answered",
        "_asked",
        "_by_memory",
        "_ledger",
        "_no_status",
        "_offered",
        "_refused",
        "_run",
        "_statuses",
        "_wait",
    )

    def __init__(self, ledger: Ledger, method: str, route: str) -> None:
        self._ledger = ledger
        self._offered = ledger.row(OFFERED, method, route)
        self._statuses, self._no_status = _statuses(ledger, method, route)
        ended = {outcome: ledger.row(ENDED, method, route, label) for outcome, label in OUTCOMES.items()}
        self._asked, self._by_memory = (
            ended | {f.label: ledger.row(REFUSED, method, route, f.label, by) for f in REFUSALS}
            for by in ("queue", "memory")
        )
        self._answered, self._refused = (
            ledger.row(TOTAL_SECONDS, method, route, answer) for answer in ("answered", "refused")
        )
        self._wait = ledger.row(WAIT_SECONDS, method, route)
        self._run = ledger.row(RUN_SECONDS, method, route)

    def offered(self) -> None:
        self._ledger.cells[self._offered] += 1

    def ended(self, fate: Fate, total_s: float) -> None:
        """Count a request that has been answered, or that will not be."""
        cells, outcome = self._ledger.cells, fate.outcome
        cells[self._statuses.get(fate.status // 100, self._no_status)] += 1
        cells[(self._by_memory if fate.by_memory else self._asked)[outcome]] += 1
        if outcome in OUTCOMES:
            total = self._answered
            if outcome != _DONE and outcome not in _TIMED:
                return
        else:
            total = self._refused
        cells[total + bisect_left(SECONDS, total_s)] += 1
        cells[total + _SUM] += total_s
        if outcome == _DONE:
            self._ran(fate.wait_ms, fate.run_ms)

    def called(self, answer: Outcome, by_memory: bool) -> None:
        """Count a call of a plain route, which has no status of its own."""
        self._ledger.cells[(self._by_memory if by_memory else self._asked)[answer.outcome]] += 1
        if answer.outcome == _DONE and answer.reply is not None:
            self._ran(answer.reply.wait_ms, answer.reply.run_ms)

    def _ran(self, wait_ms: int, run_ms: int) -> None:
        cells, wait, run = self._ledger.cells, self._wait, self._run
        cells[wait + bisect_left(_MS, wait_ms)] += 1
        cells[wait + _SUM] += wait_ms / 1000
        cells[run + bisect_left(_MS, run_ms)] += 1
        cells[run + _SUM] += run_ms / 1000


class GatewayMetrics:
    """What one gateway process counts."""

    def __init__(
        self, registry: Registry, directory: Path | None, is_ready: Callable[[], bool], take: Callable[[], None]
    ) -> None:
        self.ledger = ledger = Ledger()
        self._routes = {h.route: RouteMeter(ledger, h.method, h.path) for h in registry.handlers}
        self._admitted = {h.route: ledger.row(ADMITTED, h.method, h.path) for h in registry.handlers}
        self._others, self._no_other = _statuses(ledger, OTHER, OTHER)
        self.open = ledger.gauge(OPEN)
        self.unclaimed = ledger.counter(UNCLAIMED)
        self.admits, self.replies = Calls(ledger, "admit"), Calls(ledger, "replies")
        self.cancels = Calls(ledger, "cancel")
        self.connects = Connects(ledger, "admit", "inbox")
        self.reaps = Reaps(ledger)
        self.evicts = ledger.gauge(EVICTS)
        self.vitals = Vitals(ledger, is_ready, take)
        ledger.open(directory)

    def of(self, handler: Handler) -> RouteMeter:
        return self._routes[handler.route]

    def admitted(self, handler: Handler) -> None:
        """Count an admission."""
        self.ledger.cells[self._admitted[handler.route]] += 1

    def other(self, status: int) -> None:
        """Count an answer to what is not queued."""
        self.ledger.cells[self._others.get(status // 100, self._no_other)] += 1


def _statuses(ledger: Ledger, method: str, route: str) -> tuple[dict[int, int], int]:
    rows = {first: ledger.row(RESPONSES, method, route, label) for first, label in _CLASSES.items()}
    return rows, ledger.row(RESPONSES, method, route, _NONE)

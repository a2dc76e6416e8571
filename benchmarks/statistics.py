"""From requests to metrics, and from metrics to pass or fail: goodput, refusals, lateness, goals, the table.

Owns the words. Admitted: not refused, and its client stayed. Late: admitted, but not answered well by its deadline.
A run that was not measured soundly is invalid, which is not a failure. Pure; must not know how a load is sent.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from benchmarks.arrivals import Request
from benchmarks.notes import Run
from benchmarks.overload_plan import Phase
from floodgate.peak.statistics import grid, percentile, share

MET_BY = 0.8
"""Share of the blocks that has to meet a goal."""
ACHIEVED = 0.98
LAG_P99_S = 0.010
GENERATOR_BUSY = 0.85
REFUSED = frozenset({429, 503})
CLOCK_SLACK_S = 0.01
"""By so much a start may seem late without being so: what cannot be told apart from outside.

Gateway and worker each know Redis's clock only from its replies, in whole milliseconds, and so as much too early as the
quickest of 16 replies travelled: 1 to 2 ms each. Between the worker's look at the deadline and the handler's first
line lies one turn of its loop, or for a thread one switch of the interpreter: 5 ms. A start that is late by fault
is so by more; in the measured blocks of all profiles none came after its client's answer at all.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of a report, a value per block or round; without a bound it is for information."""

    name: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    exact: bool = False
    """Every value has to meet the goal."""
    is_count: bool = False
    """Does not depend on how fast the machine is."""

    @property
    def has_goal(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def median(self) -> float:
        known = [value for value in self.values if not math.isnan(value)]
        return statistics.median(known) if known else math.nan

    def is_met(self, met_by: float = MET_BY) -> bool:
        """Tells whether the median and so many of the values meet the goal; what could not be measured does not."""
        fits = sum(map(self._fits, self.values))
        if self.exact:
            return bool(self.values) and fits == len(self.values)
        return self._fits(self.median) and fits >= math.ceil(met_by * len(self.values) - 1e-9)

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}{self.unit}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}{self.unit}" if self.at_most else "0"

    def _fits(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most) and not math.isnan(value)


def none_of(name: str, count: float) -> Metric:
    """Returns a count that has to be 0, always."""
    return Metric(name, (float(count),), at_most=0, exact=True, is_count=True)


def missed(metrics: Sequence[Metric], *, only_counts: bool = False, met_by: float = MET_BY) -> list[Metric]:
    """Returns the metrics whose goal is missed, of those that are judged."""
    judged = (metric for metric in metrics if metric.has_goal and (metric.is_count or not only_counts))
    return [metric for metric in judged if not metric.is_met(met_by)]


def table(metrics: Sequence[Metric], *, only_counts: bool = False, met_by: float = MET_BY) -> str:
    """Returns the metrics as a Markdown table: the median, the goal, pass or fail, and every value."""
    failed = {metric.name for metric in missed(metrics, only_counts=only_counts, met_by=met_by)}
    rows = [("metric", "measured", "goal", "result", "rounds")]
    for metric in metrics:
        judged = metric.has_goal and (metric.is_count or not only_counts)
        result = ("FAIL" if metric.name in failed else "pass") if judged else ""
        rounds = " ".join(map(short, metric.values)) if len(metric.values) > 1 else ""
        rows.append((metric.name, f"{short(metric.median)}{metric.unit}", metric.goal, result, rounds))
    return grid(rows)


def short(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class ExitCode(IntEnum):
    """What a whole run comes to."""

    PASSED = 0
    FAILED = 1
    INVALID = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found, and why it is invalid, if it is."""

    metrics: list[Metric]
    complaints: list[str]

    @property
    def exit_code(self) -> ExitCode:
        """Returns what the whole comes to: an unsound run is invalid, whatever its metrics."""
        if self.complaints:
            return ExitCode.INVALID
        return ExitCode.FAILED if missed(self.metrics) else ExitCode.PASSED


@dataclass(frozen=True, slots=True)
class Soundness:
    """How well a block was measured."""

    name: str
    achieved: float
    """Sent ÷ intended."""
    lag_p99_s: float
    generator_busy: float
    """Share of its core, in its busiest stretch."""
    sat_spread: float = 0.0
    sat_spread_limit: float = math.inf

    def __str__(self) -> str:
        text = f"{self.name}: {self.achieved:.3f} of the intended load sent, "
        text += f"schedule lag p99 {self.lag_p99_s * 1000:.1f} ms, generator {self.generator_busy:.0%} of its core"
        return text if math.isinf(self.sat_spread_limit) else f"{text}, saturating phases within {self.sat_spread:.1%}"

    def complaints(self) -> list[str]:
        """Returns why the block is invalid; nothing when it is sound."""
        found = []
        if not self.achieved >= ACHIEVED:
            found.append(f"only {self.achieved:.3f} of the intended load was sent (≥ {ACHIEVED})")
        if not self.lag_p99_s <= LAG_P99_S:
            found.append(f"schedule lag p99 {self.lag_p99_s * 1000:.1f} ms (≤ {LAG_P99_S * 1000:g})")
        if not self.generator_busy <= GENERATOR_BUSY:
            found.append(f"the generator used {self.generator_busy:.0%} of its core (≤ {GENERATOR_BUSY:.0%})")
        if not self.sat_spread <= self.sat_spread_limit:
            found.append(f"saturating phases differ by {self.sat_spread:.1%} (≤ {self.sat_spread_limit:.0%})")
        return [f"{self.name}: {complaint}" for complaint in found]


def spread(values: Sequence[float]) -> float:
    """Returns how much the values differ, as a share of their mean."""
    mean = statistics.fmean(values) if values else 0.0
    return (max(values) - min(values)) / mean if mean else math.nan


def refused(request: Request) -> bool:
    return request.status in REFUSED


def admitted(request: Request) -> bool:
    return not refused(request) and not request.left


def in_time(request: Request, deadline_s: float) -> bool:
    return request.status == 200 and request.latency_s <= deadline_s


def late(request: Request, deadline_s: float) -> bool:
    return admitted(request) and not in_time(request, deadline_s)


@dataclass(frozen=True, slots=True)
class PhaseMetrics:
    """One phase, without its first seconds; `late` is of the whole phase, its onset included."""

    phase: Phase
    offered_per_s: float
    goodput_per_s: float
    refused_per_s: float
    admitted: int
    late: int
    p50_s: float
    p99_s: float
    refusal_s: tuple[float, ...]
    probe_s: tuple[float, ...]


def measure(
    phases: Sequence[Phase], requests: Sequence[Request], deadline_s: float, start_s: float
) -> list[PhaseMetrics]:
    """Returns the metrics of each phase; `start_s` is when the run began.

    Offered and refused count by the intended time. Goodput counts by the time of
    the answer: what a queue holds over a phase's edge would blur it otherwise.
    """
    by_phase: dict[int, list[Request]] = {phase.index: [] for phase in phases}
    goodput: Counter[int] = Counter()
    starts = [phase.start_s for phase in phases]
    for request in requests:
        by_phase[request.phase].append(request)
        if request.kind == "load" and in_time(request, deadline_s):
            done_s = request.done_s - start_s
            at = bisect.bisect_right(starts, done_s) - 1
            if phases[at].counted_s[0] <= done_s < phases[at].counted_s[1]:
                goodput[phases[at].index] += 1
    return [_metrics(phase, by_phase[phase.index], goodput[phase.index], deadline_s, start_s) for phase in phases]


def _metrics(phase: Phase, requests: Sequence[Request], good: int, deadline_s: float, start_s: float) -> PhaseMetrics:
    first_s = phase.counted_s[0] + start_s
    seconds = phase.counted_s[1] - phase.counted_s[0]
    load = [request for request in requests if request.kind == "load"]
    counted = [request for request in load if request.intended_s >= first_s]
    stayed = [request.latency_s for request in counted if admitted(request)]
    refusals = tuple(request.latency_s for request in counted if refused(request))
    probes = (r.latency_s for r in requests if r.kind == "probe" and r.intended_s >= first_s and r.status == 200)
    return PhaseMetrics(
        phase,
        offered_per_s=len(counted) / seconds,
        goodput_per_s=good / seconds,
        refused_per_s=len(refusals) / seconds,
        admitted=sum(map(admitted, load)),
        late=sum(late(request, deadline_s) for request in load),
        p50_s=percentile(stayed, 0.5),
        p99_s=percentile(stayed, 0.99),
        refusal_s=refusals,
        probe_s=tuple(probes),
    )


@dataclass(frozen=True, slots=True)
class Breaches:
    """What may never happen, counted; all zero in a sound system."""

    unanswered: int
    """Whose client stayed, and got nothing."""
    answered_twice: int
    started_late: int
    """Handlers started after their deadline, or after their client had its answer."""
    ran_refused: int
    """Handlers that ran for a request that was refused."""
    ran_not_once: int
    """Answers of a handler that did not run, or ran more than once."""


def breaches(requests: Sequence[Request], runs: Sequence[Run], strays: int) -> Breaches:
    """Compares what clients saw with what handlers noted; not for runs in which workers die."""
    started: dict[str, list[Run]] = {}
    for run in runs:
        started.setdefault(run.request_id, []).append(run)
    queued = [request for request in requests if request.kind != "probe"]
    known = {request.id: request for request in queued}
    return Breaches(
        unanswered=sum(request.status == 0 and not request.left for request in requests),
        answered_twice=strays,
        started_late=sum(_started_late(run, known) for run in runs),
        ran_refused=sum(refused(request) and request.id in started for request in queued),
        ran_not_once=sum(request.status == 200 and len(started.get(request.id, ())) != 1 for request in queued),
    )


def _started_late(run: Run, requests: Mapping[str, Request]) -> bool:
    request = requests.get(run.request_id)
    if request is None:
        return run.left_s <= 0
    was_over = request.status != 0 or run.left_s <= 0
    return was_over and run.started_s > request.done_s + CLOCK_SLACK_S


def jain(values: Sequence[float]) -> float:
    """Returns Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    return share(sum(values) ** 2, len(values) * sum(value**2 for value in values))

"""From requests to figures: goodput, refusals, lateness, percentiles, and what may never happen.

Owns the words. Admitted: not refused, and its client stayed. Late: admitted, but
not answered well by its deadline. Pure; must not know which goals there are.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.arrivals import Request
from benchmarks.notes import Run
from benchmarks.overload_plan import Phase
from floodgate.peak.statistics import percentile, share

REFUSED = frozenset({429, 503})
CLOCK_SLACK_S = 0.01
"""By so much a start may seem late without being so: what cannot be told apart from outside.

Gateway and worker each know Redis's clock only from its replies, in whole milliseconds, and so as much too early as the
quickest of 16 replies travelled: 1 to 2 ms each. Between the worker's look at the deadline and the handler's first
line lies one turn of its loop, or for a thread one switch of the interpreter: 5 ms. A start that is late by fault
is so by more; in the measured blocks of all profiles none came after its client's answer at all.
"""


def refused(request: Request) -> bool:
    return request.status in REFUSED


def admitted(request: Request) -> bool:
    return not refused(request) and not request.left


def in_time(request: Request, deadline_s: float) -> bool:
    return request.status == 200 and request.latency_s <= deadline_s


def late(request: Request, deadline_s: float) -> bool:
    return admitted(request) and not in_time(request, deadline_s)


@dataclass(frozen=True, slots=True)
class Figures:
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


def measure(phases: Sequence[Phase], requests: Sequence[Request], deadline_s: float, start_s: float) -> list[Figures]:
    """Return the figures of each phase; `start_s` is when the run began.

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
    return [_figures(phase, by_phase[phase.index], goodput[phase.index], deadline_s, start_s) for phase in phases]


def _figures(phase: Phase, requests: Sequence[Request], good: int, deadline_s: float, start_s: float) -> Figures:
    first_s = phase.counted_s[0] + start_s
    seconds = phase.counted_s[1] - phase.counted_s[0]
    load = [request for request in requests if request.kind == "load"]
    counted = [request for request in load if request.intended_s >= first_s]
    stayed = [request.latency_s for request in counted if admitted(request)]
    refusals = tuple(request.latency_s for request in counted if refused(request))
    probes = (r.latency_s for r in requests if r.kind == "probe" and r.intended_s >= first_s and r.status == 200)
    return Figures(
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
    """Compare what clients saw with what handlers noted; not for runs in which workers die."""
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
    """Return Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    return share(sum(values) ** 2, len(values) * sum(value**2 for value in values))

"""From rows to statistics: what became of the requests of a route, and whether the pace was kept.

Owns the words. Refused: 429 or 503 with Retry-After. Late: 504, or a good answer
after its deadline, which is for the first item of a stream. Pure; must not know what is wanted.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from floodgate.peak.records import Asked, Row

REFUSED = frozenset({429, 503})
LATE = 504
TOP = 0.9
"""From so much of the highest rate on, it is the top."""
FEW = 150
"""Turns. Of fewer, a share says little: users' turns are spread evenly, but not to the very one."""
ALL = "all routes"


def share(part: float, whole: float) -> float:
    """Returns part ÷ whole; not a number when there is nothing to share."""
    return part / whole if whole else math.nan


def percentile(values: Iterable[float], share_of: float) -> float:
    """Returns the smallest value that so many of all do not exceed (nearest rank); not a number of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share_of * len(ordered)) - 1)] if ordered else math.nan


def grid(rows: Sequence[tuple[str, ...]]) -> str:
    """Returns rows as an aligned Markdown table; the first one is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


class Outcome(StrEnum):
    """What a request came to."""

    GOOD = "in time"
    REFUSED = "refused"
    LATE = "late"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is a good answer of a route."""

    deadline_s: float
    expected: frozenset[int] = frozenset()
    stream_s: float = math.inf
    """To the end of a stream; `deadline_s` is to its first item."""

    def outcome(self, row: Row) -> Outcome:
        if row.status in REFUSED and row.retry_after:
            return Outcome.REFUSED
        if row.status == LATE:
            return Outcome.LATE
        if not 0 < row.status < 400 and row.status not in self.expected:
            return Outcome.ERROR
        in_time = row.latency_s <= self.deadline_s and (row.first_s is None or row.end_latency_s <= self.stream_s)
        return Outcome.GOOD if in_time else Outcome.LATE


Judged = tuple[Row, Outcome]
"""A row and what it came to."""


@dataclass(frozen=True, slots=True)
class RouteStatistics:
    """Of one route, or of all, over `seconds`; latencies are from the request's turn."""

    route: str
    seconds: float
    offered: int
    good: int
    refused: int
    late: int
    errors: int
    admitted_p50_s: float
    admitted_p99_s: float
    refusal_p50_s: float
    refusal_p99_s: float
    end_p50_s: float = math.nan
    """Of the streams that came to their end."""
    end_p99_s: float = math.nan

    @property
    def goodput_share(self) -> float:
        return share(self.good, self.offered)

    @property
    def goodput_per_s(self) -> float:
        return share(self.good, self.seconds)

    @property
    def refused_share(self) -> float:
        return share(self.refused, self.offered)

    @property
    def late_share(self) -> float:
        return share(self.late, self.offered - self.refused)

    @property
    def error_share(self) -> float:
        return share(self.errors, self.offered)


def judged(rows: Sequence[Row], rule_of: Callable[[str], Rule]) -> list[Judged]:
    """Returns every row with what it came to."""
    rules = {route: rule_of(route) for route in {row.route for row in rows}}
    return [(row, rules[row.route].outcome(row)) for row in rows]


def route_statistics(route: str, found: Sequence[Judged], seconds: float) -> RouteStatistics:
    """Returns the statistics of some rows under a name."""
    count = Counter(outcome for _, outcome in found)
    refusals = [row.latency_s for row, outcome in found if outcome is Outcome.REFUSED]
    admitted = [row.latency_s for row, outcome in found if outcome is not Outcome.REFUSED and row.status]
    ends = [row.end_latency_s for row, outcome in found if row.first_s is not None and outcome is not Outcome.ERROR]
    return RouteStatistics(
        route,
        seconds,
        len(found),
        count[Outcome.GOOD],
        count[Outcome.REFUSED],
        count[Outcome.LATE],
        count[Outcome.ERROR],
        percentile(admitted, 0.5),
        percentile(admitted, 0.99),
        percentile(refusals, 0.5),
        percentile(refusals, 0.99),
        percentile(ends, 0.5),
        percentile(ends, 0.99),
    )


def by_route(found: Sequence[Judged], seconds: float) -> list[RouteStatistics]:
    """Returns the statistics of each route, by name."""
    ordered = sorted(found, key=lambda each: each[0].route)
    groups = itertools.groupby(ordered, key=lambda each: each[0].route)
    return [route_statistics(route, list(group), seconds) for route, group in groups]


@dataclass(frozen=True, slots=True)
class Pace:
    """Whether as much was sent as was asked for: over the whole run, and where the most was asked for."""

    asked_per_s: float
    achieved: float
    top_per_s: float
    top_achieved: float
    lag_p99_s: float
    """How late after its turn a request was sent."""

    @property
    def least(self) -> float:
        return min((each for each in (self.achieved, self.top_achieved) if not math.isnan(each)), default=math.nan)


def pace(asked: Sequence[Asked], rows: Sequence[Row], period_s: float) -> Pace:
    """Compares the turns that users were asked to take with those they took; each asks once in `period_s`."""
    spans = [(a.at_s, b.at_s, a.users / period_s) for a, b in itertools.pairwise(asked)]
    highest = max((per_s for *_, per_s in spans), default=math.nan)
    tops = [span for span in spans if span[2] >= TOP * highest]
    sent = sorted(row.sent_s for row in rows if row.paced)
    return Pace(
        share(_turns(spans), sum(end_s - start_s for start_s, end_s, _ in spans)),
        share(_taken(spans, sent), _turns(spans)),
        highest,
        share(_taken(tops, sent), _turns(tops)) if _turns(tops) >= FEW else math.nan,
        percentile((row.sent_s - row.due_s for row in rows if row.paced), 0.99),
    )


Span = tuple[float, float, float]
"""From when to when how much was asked for."""


def _turns(spans: Sequence[Span]) -> float:
    return sum((end_s - start_s) * per_s for start_s, end_s, per_s in spans)


def _taken(spans: Sequence[Span], sent: Sequence[float]) -> int:
    return sum(bisect_left(sent, end_s) - bisect_left(sent, start_s) for start_s, end_s, _ in spans)

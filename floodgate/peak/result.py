"""What a finished run came to, read from its directory: statistics, breaches, and whether it is valid.

Owns the exit code and the table. Must not know how the run was made or is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from floodgate.peak import records, thresholds
from floodgate.peak.plan import FILE, Plan
from floodgate.peak.statistics import ALL, Judged, Pace, RouteStatistics, by_route, grid, judged, pace, route_statistics

THRESHOLDS = "thresholds.toml"
ACHIEVED = 0.95
HEAD = (
    *("route", "offered/s", "in time/s", "in time", "refused", "late", "errors"),
    *("admitted p50 / p99 ms", "refused p50 / p99 ms", "streams' end p50 / p99 ms", ""),
)


class ExitCode(IntEnum):
    """What a run comes to."""

    PASSED = 0
    FAILED = 1
    INVALID = 2


WORDS = {
    ExitCode.PASSED: "passed: every threshold is kept",
    ExitCode.FAILED: "FAILED: thresholds.toml wants more, see above",
    ExitCode.INVALID: "INVALID: the load was not what was asked for, so the statistics are of another one",
}


@dataclass(frozen=True, slots=True)
class Result:
    """A run and what it came to."""

    plan: Plan
    judged: Sequence[Judged]
    asked: Sequence[records.Asked]
    routes: Sequence[RouteStatistics]
    total: RouteStatistics
    pace: Pace
    breaches: Sequence[str]

    @property
    def complaints(self) -> list[str]:
        """Returns why the run is invalid; nothing when it is sound."""
        if not self.routes:
            return ["nothing was sent"]
        if not self.pace.least < ACHIEVED:
            return []
        more = f"more USERS (now {self.plan.users} for the base), PROCESSES (now {self.plan.processes}) or a lower RPS"
        return [f"only {self.pace.least:.3f} of the asked rate was sent (at least {ACHIEVED}): {more}"]

    @property
    def exit_code(self) -> ExitCode:
        if self.complaints:
            return ExitCode.INVALID
        return ExitCode.FAILED if self.breaches else ExitCode.PASSED

    @property
    def pace_line(self) -> str:
        """Returns the achieved rate beside the asked one."""
        p = self.pace
        text = f"asked {p.asked_per_s:.1f}/s, sent {p.achieved:.3f} of it"
        if not math.isnan(p.top_achieved):
            text += f"; at the top asked {p.top_per_s:.1f}/s, sent {p.top_achieved:.3f} of it"
        return f"{text}; sent later than its turn by p99 {p.lag_p99_s * 1000:.1f} ms"

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """Returns the table: its head, a row for each route, one for all."""
        broken = {breach.partition(": ")[0] for breach in self.breaches}
        return [HEAD, *(_cells(each, each.route in broken) for each in (*self.routes, self.total))]

    def __str__(self) -> str:
        lines = [grid(self.cells), "", self.pace_line, *self.breaches, *self.complaints, WORDS[self.exit_code]]
        return "\n".join(lines)


def result(directory: Path) -> Result:
    """Returns what the run in a directory came to, from its plan, its rows and its thresholds."""
    plan, wanted = Plan.read(directory / FILE), thresholds.load(directory / THRESHOLDS)
    rows, asked = records.read(directory), records.read_asked(directory)
    found = judged(rows, lambda route: wanted.of(route).rule)
    seconds = asked[-1].at_s - asked[0].at_s if asked else math.nan
    routes, total = by_route(found, seconds), route_statistics(ALL, found, seconds)
    return Result(plan, found, asked, routes, total, pace(asked, rows, plan.period_s), wanted.breaches(routes, total))


def _cells(each: RouteStatistics, is_broken: bool) -> tuple[str, ...]:
    return (
        each.route,
        f"{each.offered / each.seconds:.1f}",
        f"{each.goodput_per_s:.1f}",
        _percent(each.goodput_share),
        _percent(each.refused_share),
        str(each.late),
        str(each.errors),
        _ms(each.admitted_p50_s, each.admitted_p99_s),
        _ms(each.refusal_p50_s, each.refusal_p99_s),
        _ms(each.end_p50_s, each.end_p99_s),
        "FAIL" if is_broken else "ok",
    )


def _percent(part: float) -> str:
    return "–" if math.isnan(part) else f"{part:.1%}"


def _ms(p50_s: float, p99_s: float) -> str:
    return "–" if math.isnan(p50_s) else f"{p50_s * 1000:,.0f} / {p99_s * 1000:,.0f}"

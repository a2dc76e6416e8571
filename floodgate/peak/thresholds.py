"""What a run has to keep to, per route and outcome, from one TOML file.

Owns the file's words and what they judge. Must not know how statistics come about.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from floodgate.peak.statistics import RouteStatistics, Rule

FILE = Path("loadtest/thresholds.toml")
DEFAULT, TOTAL = "default", "total"


class BadThresholds(Exception):
    """The file says something that means nothing; the text says what."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one route, or of all together; None is not judged."""

    deadline_s: float = 10.0
    stream_s: float | None = None
    expected: tuple[int, ...] = ()
    min_goodput_share: float | None = None
    min_goodput_per_s: float | None = None
    max_refused_share: float | None = None
    max_refusal_p99_s: float | None = None
    max_admitted_p99_s: float | None = None
    max_end_p99_s: float | None = None
    max_late_share: float | None = None
    max_error_share: float | None = None

    @property
    def rule(self) -> Rule:
        return Rule(self.deadline_s, frozenset(self.expected), self.stream_s or math.inf)

    def breaches(self, measured: RouteStatistics) -> list[str]:
        """Returns each bound that the statistics break, in words; what was not measured breaks none."""
        found = []
        for bound in fields(self):
            limit = getattr(self, bound.name)
            sort, _, name = bound.name.partition("_")
            if sort not in ("min", "max") or limit is None:
                continue
            value = getattr(measured, name)
            if not math.isnan(value) and (value < limit if sort == "min" else value > limit):
                word = "at least" if sort == "min" else "at most"
                found.append(f"{measured.route}: {name} is {value:.4g}, {word} {limit:g} is wanted")
        return found


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every table of the file, by its name."""

    tables: Mapping[str, Mapping[str, Any]]

    def of(self, route: str) -> Bounds:
        """Returns the bounds of a route: the default, and what its own tables say."""
        bounds = dict(self.tables.get(DEFAULT, {}))
        for name, table in self.tables.items():
            if name not in (DEFAULT, TOTAL) and (name == route or fnmatchcase(route, name)):
                bounds |= table
        return _bounds(bounds)

    @property
    def total(self) -> Bounds:
        return _bounds(self.tables.get(TOTAL, {}))

    @property
    def longest_deadline_s(self) -> float:
        """Returns how long the slowest good answer may take, and the longest stream."""
        bounds = [_bounds(table) for table in (self.tables.get(DEFAULT, {}), *self.tables.values())]
        return max(max(each.deadline_s, each.stream_s or 0) for each in bounds)

    def breaches(self, by_route: Sequence[RouteStatistics], total: RouteStatistics) -> list[str]:
        """Returns every breach, route by route, then of the whole."""
        routes = [breach for each in by_route for breach in self.of(each.route).breaches(each)]
        return [*routes, *self.total.breaches(total)]


def load(file: Path = FILE) -> Thresholds:
    """Returns what a file says; raises `BadThresholds`."""
    try:
        tables = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadThresholds(f"{file}: {error}") from error
    known = {bound.name: bound for bound in fields(Bounds)}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadThresholds(f"{file}: {name} stands in no table; put it below [default]")
        for key, value in table.items():
            if key not in known:
                raise BadThresholds(f"{file}: [{name}] {key} is none of {', '.join(known)}")
            if not _fits(key, value):
                raise BadThresholds(f"{file}: [{name}] {key} = {value!r} is no {_kind(key)}")
    return Thresholds(tables)


def _bounds(bounds: Mapping[str, Any]) -> Bounds:
    values: dict[str, Any] = dict(bounds)
    values["expected"] = tuple(bounds.get("expected", ()))
    return Bounds(**values)


def _fits(key: str, value: Any) -> bool:
    if key == "expected":
        return isinstance(value, list) and all(isinstance(each, int) for each in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _kind(key: str) -> str:
    return "list of statuses" if key == "expected" else "number from 0 on"

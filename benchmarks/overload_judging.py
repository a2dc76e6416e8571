"""Goals, and whether figures meet them: a line per figure, and a verdict of the whole.

A goal is met when the median of all blocks meets it and four of five do; one that
must hold exactly, when every value does. A run that was not measured soundly is
invalid, which is not a failure. Pure; must not know how figures come about.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

MET_BY = 0.8
"""Share of the blocks that has to meet a goal."""
ACHIEVED = 0.98
LAG_P99_S = 0.010
GENERATOR_BUSY = 0.85


class Verdict(IntEnum):
    """Of a whole run; the exit code."""

    PASSED = 0
    FAILED = 1
    INVALID = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, one value per block; without a bound it is reported only."""

    name: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    exact: bool = False
    unit: str = ""

    @property
    def judged(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def median(self) -> float:
        known = [value for value in self.values if not math.isnan(value)]
        return statistics.median(known) if known else math.nan

    @property
    def met(self) -> bool:
        """Tell whether the goal is met; what could not be measured does not meet one."""
        fits = sum(self._fits(value) for value in self.values)
        if self.exact:
            return bool(self.values) and fits == len(self.values)
        return self._fits(self.median) and fits >= math.ceil(MET_BY * len(self.values) - 1e-9)

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "reported" if self.at_most is None else f"≤ {self.at_most:g}" if self.at_most else "0"

    def _fits(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most) and not math.isnan(value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found: a line per figure, and why it is invalid, if it is."""

    lines: list[Line]
    complaints: list[str]

    @property
    def verdict(self) -> Verdict:
        """Return what the whole comes to: an unsound run is invalid, whatever its figures."""
        if self.complaints:
            return Verdict.INVALID
        return Verdict.PASSED if all(line.met for line in self.lines if line.judged) else Verdict.FAILED


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
        """Return why the block is invalid; nothing when it is sound."""
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
    """Return how much the values differ, as a share of their mean."""
    mean = statistics.fmean(values) if values else 0.0
    return (max(values) - min(values)) / mean if mean else math.nan


def table(lines: Sequence[Line]) -> str:
    """Return the lines as text: every value, the median, and pass or fail."""
    most = max((len(line.values) for line in lines), default=1)
    header = ["figure", "goal", *([f"{n + 1}" for n in range(most)] if most > 1 else [""]), "median" * (most > 1), ""]
    rows = [header]
    for line in lines:
        values = [_text(value) for value in line.values] + [""] * (most - len(line.values))
        word = ("pass" if line.met else "FAIL") if line.judged else ""
        name = f"{line.name}, {line.unit}" if line.unit else line.name
        rows.append([name, line.goal, *values, _text(line.median) if most > 1 else "", word])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    aligned = (
        [cell.ljust(width) if column in (0, 1) else cell.rjust(width) for column, (cell, width) in enumerate(cells)]
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def _text(value: float) -> str:
    if math.isnan(value):
        return "–"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"

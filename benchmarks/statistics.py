"""What the benchmark judges: figures, their goals and the table.

Pure: must not know how a figure is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from floodgate.peak.statistics import grid


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: the median of its rounds against a goal, or for information."""

    name: str
    rounds: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    is_count: bool = False
    """Does not depend on how fast the machine is."""

    @property
    def measured(self) -> float:
        return statistics.median(self.rounds)

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}{self.unit}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}{self.unit}"

    @property
    def is_met(self) -> bool:
        """Tell whether the goal is met; a figure without one always is."""
        too_much = self.at_most is not None and not self.measured <= self.at_most
        too_little = self.at_least is not None and not self.measured >= self.at_least
        return not too_much and not too_little


def missed(figures: Sequence[Figure], *, only_counts: bool) -> list[Figure]:
    """Return the figures whose goal is missed, of those that are judged."""
    return [figure for figure in figures if not figure.is_met and (figure.is_count or not only_counts)]


def table(figures: Sequence[Figure], *, only_counts: bool) -> str:
    """Return the figures as a Markdown table, with the value of every round."""
    rows = [("figure", "measured", "goal", "verdict", "rounds")]
    for figure in figures:
        judged = bool(figure.goal) and (figure.is_count or not only_counts)
        verdict = ("pass" if figure.is_met else "FAIL") if judged else ""
        rounds = " ".join(_short(value) for value in figure.rounds) if len(figure.rounds) > 1 else ""
        rows.append((figure.name, f"{_short(figure.measured)}{figure.unit}", figure.goal, verdict, rounds))
    return grid(rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

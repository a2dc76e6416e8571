"""What capacity is told by: points along something that grows, and how they are kept.

Pure. Must not know how a point is measured or where it is shown.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement, or the median of several; `more` are figures of this curve only, by name."""

    x: float
    per_s: float
    p50_ms: float
    p99_ms: float
    more: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.0
    """How far the rates of the measurements were apart, as a share of their median."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one kind, e.g. of the queued handler and of the same one called directly."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the capacity run: its curves over what grows, and how they were measured."""

    name: str
    title: str
    grows: str
    """What `x` is: the head of the table's first column, and the label of the axis."""
    how: str
    curves: Sequence[Curve]
    machine: str

    @property
    def spread(self) -> float:
        """Return the widest spread of a point: what the machine, or whatever else ran there, did to the figures."""
        return max(point.spread for curve in self.curves for point in curve.points)

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{self.name}.json"
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return file

    @classmethod
    def read(cls, file: Path) -> Self:
        told = json.loads(file.read_text())
        told["curves"] = [
            Curve(curve["name"], [Point(**point) for point in curve["points"]]) for curve in told["curves"]
        ]
        return cls(**told)


def median(points: Sequence[Point]) -> Point:
    """Return the median of each figure of several measurements of one point."""
    rates = [point.per_s for point in points]
    per_s = statistics.median(rates)
    return Point(
        points[0].x,
        per_s,
        statistics.median(point.p50_ms for point in points),
        statistics.median(point.p99_ms for point in points),
        {name: statistics.median(point.more[name] for point in points) for name in points[0].more},
        (max(rates) - min(rates)) / per_s if per_s else 0.0,
    )

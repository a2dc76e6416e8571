"""The pictures of capacity: `python -m benchmarks.capacity_charts DIRECTORY IMAGES`.

Owns how a part is drawn: requests per second beside latency, both over what grows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # type: ignore[import-not-found, unused-ignore]

from benchmarks.capacity_curves import Part
from benchmarks.capacity_page import picture
from floodgate.peak import style
from floodgate.peak.style import GOOD, INK, QUIET

COLOURS = (GOOD, QUIET)
SIZE = (8.6, 3.1)
MARGIN = 1.12


def main(directory: Path, images: Path) -> int:
    """Draw every part that was measured."""
    style.set_style()
    plt.rcParams |= {"savefig.dpi": 105}
    images.mkdir(parents=True, exist_ok=True)
    for file in sorted(directory.glob("*.json")):
        part = Part.read(file)
        drawn = _draw(part, images / picture(part.name))
        print(f"drawn: {drawn.name}")
    return 0


def _draw(part: Part, file: Path) -> Path:
    figure, (rate, latency) = plt.subplots(1, 2, figsize=SIZE)
    for curve, colour in zip(part.curves, COLOURS, strict=False):
        xs = [point.x for point in curve.points]
        rate.plot(xs, [point.per_s for point in curve.points], "o-", color=colour, markersize=4, label=curve.name)
        named = f", {curve.name}" if len(part.curves) > 1 else ""
        latency.plot(xs, [p.p99_ms for p in curve.points], "o-", color=colour, markersize=4, label=f"p99{named}")
        latency.plot(
            xs, [p.p50_ms for p in curve.points], "o:", color=colour, markersize=3, label=f"p50{named}", linewidth=1.2
        )
    for axes, title in ((rate, "requests per second"), (latency, "latency, ms")):
        _scale(axes, [point.x for point in part.curves[0].points])
        axes.set(title=title, xlabel=part.grows)
    rate.yaxis.set_major_formatter(FuncFormatter(_plain))
    rate.set_ylim(0, MARGIN * max(point.per_s for curve in part.curves for point in curve.points))
    if _spread(part) > 20:
        latency.set_yscale("log")
        latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        latency.yaxis.set_major_formatter(FuncFormatter(_plain))
        latency.yaxis.set_minor_locator(NullLocator())
    else:
        latency.set_ylim(0, MARGIN * max(point.p99_ms for curve in part.curves for point in curve.points))
    latency.legend(loc="best", fontsize=8)
    if len(part.curves) > 1:
        rate.legend(loc="best", fontsize=8)
    figure.tight_layout(w_pad=2.5)
    return style.save(figure, file)


def _scale(axes: Any, xs: list[float]) -> None:
    if max(xs) / min(xs) > 10:
        axes.set_xscale("log")
    else:  # twice as many are to be twice as far
        axes.set_xlim(0, None)
    axes.set_xticks(xs)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.tick_params(axis="x", labelcolor=INK)


def _spread(part: Part) -> float:
    values = [ms for curve in part.curves for point in curve.points for ms in (point.p50_ms, point.p99_ms)]
    return max(values) / max(1e-9, min(values))


def _plain(value: float, _: Any) -> str:
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (size if unit == 'M' else 1e3):g}{unit}"
    return f"{value:,g}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

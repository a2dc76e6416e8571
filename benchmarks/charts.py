"""Pictures of a run, from its rows, samples and notes: `python -m benchmarks.charts DIRECTORY`.

Owns how they look. A process of its own after the run, so drawing costs the
measurement nothing, and they can be drawn again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]

from benchmarks import records, sampler
from benchmarks.arrivals import Request
from benchmarks.overload_measuring import in_time, measure, refused
from benchmarks.overload_plan import Phase
from benchmarks.overload_progress import PLAN
from benchmarks.predictions import predictions

GOOD, BAD, QUIET = "#1b7f5c", "#c2452d", "#8a8f98"
BIN_S = 1.0
"""Several service times of a profile: shorter bins show how the places beat in step."""
BEFORE_S, AFTER_S = 8.0, 12.0
"""What the time line shows beside the peak."""
BUCKETS = 60


def main(directory: Path) -> int:
    """Draw what there is to draw in every run below the directory."""
    mpl.use("Agg")
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 120, "font.size": 9}
    drawn: list[Path] = []
    for rows in sorted(directory.rglob("requests.csv")):
        run = rows.parent
        requests, origin_s = records.read(rows)
        waits = list(predictions(run, requests, origin_s))
        if (run / PLAN).exists():
            told = json.loads((run / PLAN).read_text())
            phases = [Phase(**phase) for phase in told["phases"]]
            drawn.append(_curve(run, told, phases, requests))
            drawn.append(_time_line(run, told, phases, requests, origin_s))
        if waits:
            drawn.append(_predictions(run, waits))
    for file in drawn:
        print(f"drawn: {file}")
    return 0


def _curve(run: Path, told: dict[str, Any], phases: Sequence[Phase], requests: Sequence[Request]) -> Path:
    """Draw goodput and refusals over the offered load: a point per phase, a line through the means of each factor."""
    found = measure(phases, requests, told["deadline_s"], told["start_s"])
    figure, axes = plt.subplots(figsize=(7, 4.2))
    factors = sorted({each.phase.factor for each in found})
    axes.axhline(told["per_s"], color=QUIET, linewidth=0.8, linestyle=":", label="capacity as declared")
    for name, colour, label in (("refused_per_s", BAD, "refused"), ("goodput_per_s", GOOD, "answered in time")):
        points = [(each.offered_per_s, getattr(each, name)) for each in found]
        axes.plot(*zip(*points, strict=True), "o", markersize=3.5, alpha=0.6, color=colour, label=label)
        alike = [[point for each, point in zip(found, points, strict=True) if each.phase.factor == f] for f in factors]
        means = [tuple(map(fmean, zip(*group, strict=True))) for group in alike]
        axes.plot(*zip(*means, strict=True), color=colour, linewidth=1)
    axes.set(xlabel="offered load, requests/s", ylabel="requests/s", title=f"{told['profile']}: goodput and refusals")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False)
    return _saved(figure, run / "goodput.png")


def _time_line(
    run: Path, told: dict[str, Any], phases: Sequence[Phase], requests: Sequence[Request], origin_s: float
) -> Path:
    """Draw latency, queue length and refusals through the first of the highest peaks."""
    peak = max(phases, key=lambda phase: (phase.factor, -phase.index))
    zero_s = told["start_s"] + peak.start_s
    span = (-BEFORE_S, peak.end_s - peak.start_s + AFTER_S)
    shown = [r for r in requests if r.kind == "load" and span[0] <= r.intended_s - zero_s <= span[1]]
    figure, (latency, queue, rate) = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True)
    for wanted, colour, label in ((True, BAD, "refused"), (False, GOOD, "admitted")):
        points = [(r.intended_s - zero_s, max(r.latency_s, 1e-4) * 1000) for r in shown if refused(r) is wanted]
        latency.scatter([at for at, _ in points], [ms for _, ms in points], s=2, color=colour, label=label)
    latency.axhline(told["deadline_s"] * 1000, color=QUIET, linewidth=0.8, linestyle=":", label="deadline")
    latency.set(yscale="log", ylabel="latency, ms", title=f"{told['profile']}: through a peak of {peak.label}")
    looks = _looks(run, origin_s + zero_s, span)
    for place, colour, label in ((0, BAD, "waiting"), (1, GOOD, "running")):
        least, mean, most = zip(*(_range([look[place] for look in group]) for group in looks.values()), strict=True)
        queue.fill_between(list(looks), least, most, step="post", color=colour, alpha=0.2, linewidth=0)
        queue.step(list(looks), mean, where="post", color=colour, linewidth=1, label=f"{label}: mean, range")
    queue.set(ylabel="requests", ylim=(0, None))
    edges = [span[0] + BIN_S * n for n in range(round((span[1] - span[0]) / BIN_S) + 1)]
    away = [r.intended_s - zero_s for r in shown if refused(r)]
    good = [r.done_s - zero_s for r in requests if r.kind == "load" and in_time(r, told["deadline_s"])]
    for times, colour, label in ((away, BAD, "refused"), (good, GOOD, "answered in time")):
        weights = [1 / BIN_S] * len(times)
        rate.hist(times, edges, weights=weights, histtype="step", color=colour, label=label)
    rate.set(ylabel="requests/s", xlabel="seconds from the begin of the peak", xlim=span)
    for axes in (latency, queue, rate):
        axes.axvspan(0, peak.end_s - peak.start_s, color=QUIET, alpha=0.12, linewidth=0)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), markerscale=4)
    return _saved(figure, run / "peak.png")


def _looks(run: Path, zero_s: float, span: tuple[float, float]) -> dict[float, list[tuple[int, int]]]:
    """Return the looks of each bin: waiting and running, over all routes; `zero_s` is the moment that counts as 0."""
    looks: dict[float, tuple[int, int]] = {}
    for sample in sampler.read(run / "samples.csv"):
        at_s = sample.at_s - zero_s
        if span[0] <= at_s <= span[1]:
            waiting, running = looks.get(at_s, (0, 0))
            looks[at_s] = (waiting + sample.waiting, running + sample.running)
    bins: dict[float, list[tuple[int, int]]] = {}
    for at_s, look in looks.items():
        bins.setdefault(at_s // BIN_S * BIN_S, []).append(look)
    return bins


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), fmean(values), max(values)


def _predictions(run: Path, waits: Sequence[tuple[float, float]]) -> Path:
    """Draw predicted against real wait, and a histogram of their difference."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    predicted, real = [wait[0] for wait in waits], [wait[1] for wait in waits]
    most = max(*predicted, *real, 1.0)
    left.hist2d(predicted, real, bins=60, range=[[0, most], [0, most]], cmin=1, norm="log", cmap="viridis_r")
    left.plot([0, most], [0, most], color=BAD, linewidth=0.8, label="as predicted")
    left.legend(frameon=False, loc="upper left")
    left.set(
        xlabel="predicted wait, ms",
        ylabel="real wait, ms",
        title=f"{len(waits)} answered requests",
    )
    off = [after - before for before, after in waits]
    right.hist(off, bins=BUCKETS, color=GOOD)
    right.axvline(0, color=BAD, linewidth=0.8)
    right.set(xlabel="real less predicted wait, ms", ylabel="requests")
    return _saved(figure, run / "predictions.png")


def _saved(figure: Any, file: Path) -> Path:
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
    return file


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

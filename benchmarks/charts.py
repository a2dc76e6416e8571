"""The pictures: `python -m benchmarks.charts overload | compare | capacity DIRECTORY …`, from what a run has kept.

Owns what they show; colours and axes are those of the reports of `make peak`. A process of its own after the run,
so drawing costs the measurement nothing, and they can be drawn again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # type: ignore[import-not-found, unused-ignore]

from benchmarks import compare as compare_run
from benchmarks import sampler
from benchmarks.arrivals import Request, read_records
from benchmarks.capacity_parts import Part
from benchmarks.handlers.plain import REPORT_TIMEOUT_S
from benchmarks.notes import predictions
from benchmarks.overload_plan import PLAN, Phase
from benchmarks.statistics import in_time, measure, refused
from floodgate.peak.charts import BAD, GOOD, INK, QUIET, REFUSED, save, set_style

BIN_S = 1.0
"""Several service times of a profile: shorter bins show how what runs beats in step."""
BEFORE_S, AFTER_S = 8.0, 12.0
"""What the time line shows beside the peak."""
BUCKETS = 60
NAMES = {"direct": "Called directly in FastAPI", "queued": "The same handler, queued"}
MOST_S = 2.6
SHADE = "#dde2e8"
COMPARE_SIZE = (10.4, 5.6)
CAPACITY_SIZE = (8.6, 3.1)
COLOURS = (GOOD, QUIET)
MARGIN = 1.12


def overload(directory: Path) -> list[Path]:
    """Draws what there is to draw in every run below the directory."""
    drawn: list[Path] = []
    for rows in sorted(directory.rglob("requests.csv")):
        run = rows.parent
        requests, origin_s = read_records(rows)
        waits = list(predictions(run, requests, origin_s))
        if (run / PLAN).exists():
            kept = json.loads((run / PLAN).read_text())
            phases = [Phase(**phase) for phase in kept["phases"]]
            drawn.append(_curve(run, kept, phases, requests))
            drawn.append(_time_line(run, kept, phases, requests, origin_s))
        if waits:
            drawn.append(_predictions(run, waits))
    return drawn


def _curve(run: Path, kept: dict[str, Any], phases: Sequence[Phase], requests: Sequence[Request]) -> Path:
    """Draws goodput and refusals over the offered load: a point per phase, a line through the means of each factor."""
    found = measure(phases, requests, kept["deadline_s"], kept["start_s"])
    figure, axes = plt.subplots(figsize=(7, 4.2))
    factors = sorted({each.phase.factor for each in found})
    axes.axhline(kept["per_s"], color=QUIET, linewidth=0.8, linestyle=":", label="capacity as declared")
    for name, colour, label in (("refused_per_s", BAD, "refused"), ("goodput_per_s", GOOD, "answered in time")):
        points = [(each.offered_per_s, getattr(each, name)) for each in found]
        axes.plot(*zip(*points, strict=True), "o", markersize=3.5, alpha=0.6, color=colour, label=label)
        alike = [[point for each, point in zip(found, points, strict=True) if each.phase.factor == f] for f in factors]
        means = [tuple(map(fmean, zip(*group, strict=True))) for group in alike]
        axes.plot(*zip(*means, strict=True), color=colour, linewidth=1)
    axes.set(xlabel="offered load, requests/s", ylabel="requests/s", title=f"{kept['profile']}: goodput and refusals")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend()
    return save(figure, run / "goodput.png")


def _time_line(
    run: Path, kept: dict[str, Any], phases: Sequence[Phase], requests: Sequence[Request], origin_s: float
) -> Path:
    """Draws latency, queue length and refusals through the first of the highest peaks."""
    peak = max(phases, key=lambda phase: (phase.factor, -phase.index))
    zero_s = kept["start_s"] + peak.start_s
    span = (-BEFORE_S, peak.end_s - peak.start_s + AFTER_S)
    shown = [r for r in requests if r.kind == "load" and span[0] <= r.intended_s - zero_s <= span[1]]
    figure, (latency, queue, rate) = plt.subplots(3, 1, figsize=(9, 7.5), sharex=True)
    for wanted, colour, label in ((True, BAD, "refused"), (False, GOOD, "admitted")):
        points = [(r.intended_s - zero_s, max(r.latency_s, 1e-4) * 1000) for r in shown if refused(r) is wanted]
        latency.scatter([at for at, _ in points], [ms for _, ms in points], s=2, color=colour, label=label)
    latency.axhline(kept["deadline_s"] * 1000, color=QUIET, linewidth=0.8, linestyle=":", label="deadline")
    latency.set(yscale="log", ylabel="latency, ms", title=f"{kept['profile']}: through a peak of {peak.label}")
    looks = _looks(run, origin_s + zero_s, span)
    for place, colour, label in ((0, BAD, "waiting"), (1, GOOD, "running")):
        least, mean, most = zip(*(_range([look[place] for look in group]) for group in looks.values()), strict=True)
        queue.fill_between(list(looks), least, most, step="post", color=colour, alpha=0.2, linewidth=0)
        queue.step(list(looks), mean, where="post", color=colour, linewidth=1, label=f"{label}: mean, range")
    queue.set(ylabel="requests", ylim=(0, None))
    edges = [span[0] + BIN_S * n for n in range(round((span[1] - span[0]) / BIN_S) + 1)]
    away = [r.intended_s - zero_s for r in shown if refused(r)]
    good = [r.done_s - zero_s for r in requests if r.kind == "load" and in_time(r, kept["deadline_s"])]
    for times, colour, label in ((away, BAD, "refused"), (good, GOOD, "answered in time")):
        weights = [1 / BIN_S] * len(times)
        rate.hist(times, edges, weights=weights, histtype="step", color=colour, label=label)
    rate.set(ylabel="requests/s", xlabel="seconds from the begin of the peak", xlim=span)
    for axes in (latency, queue, rate):
        axes.axvspan(0, peak.end_s - peak.start_s, color=QUIET, alpha=0.12, linewidth=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), markerscale=4)
    return save(figure, run / "peak.png")


def _looks(run: Path, zero_s: float, span: tuple[float, float]) -> dict[float, list[tuple[int, int]]]:
    """Returns the looks of each bin: waiting and running, over all routes; `zero_s` is the moment that counts as 0."""
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
    """Draws predicted against real wait, and a histogram of their difference."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    predicted, real = [wait[0] for wait in waits], [wait[1] for wait in waits]
    most = max(*predicted, *real, 1.0)
    left.hist2d(predicted, real, bins=60, range=[[0, most], [0, most]], cmin=1, norm="log", cmap="viridis_r")
    left.plot([0, most], [0, most], color=BAD, linewidth=0.8, label="as predicted")
    left.legend(loc="upper left")
    left.set(xlabel="predicted wait, ms", ylabel="real wait, ms", title=f"{len(waits)} answered requests")
    off = [after - before for before, after in waits]
    right.hist(off, bins=BUCKETS, color=GOOD)
    right.axvline(0, color=BAD, linewidth=0.8)
    right.set(xlabel="real less predicted wait, ms", ylabel="requests")
    return save(figure, run / "predictions.png")


def compare(directory: Path, timing: compare_run.Timing) -> list[Path]:
    """Draws the picture of both columns on one scale into the directory."""
    plt.rcParams |= {"font.size": 10, "axes.titlesize": 12.5, "savefig.dpi": 110}
    figure, grid = plt.subplots(2, 2, figsize=COMPARE_SIZE, sharex=True, sharey="row", height_ratios=(3, 2))
    for column, (name, title) in enumerate(NAMES.items()):
        requests, _ = read_records(directory / name / compare_run.ROWS)
        _rate_curves(grid[0, column], requests, timing)
        _latency_points(grid[1, column], requests, timing)
        grid[0, column].set_title(title, pad=22, color=BAD if name == "direct" else GOOD)
        grid[0, column].text(0, 1.035, _said(name, requests, timing), transform=grid[0, column].transAxes, color=INK)
    grid[0, 0].set_ylabel("requests per second")
    grid[1, 0].set_ylabel("latency, seconds")
    figure.tight_layout(h_pad=1.4, w_pad=2.2)
    file = save(figure, directory / compare_run.PICTURE)
    return [file]


def _said(name: str, requests: Sequence[Request], timing: compare_run.Timing) -> str:
    """Returns the sentence above a column, with its metrics."""
    _, during, after = compare_run.measure(requests, timing)
    goodput, left = f"{during.goodput_per_s:.0f}/s in time during the spike", f"{after.goodput_per_s:.0f}/s"
    if name == "direct":
        return f"{goodput}, and {left} in the {timing.after_s:.0f} s after it"
    return f"{goodput}, and everything after it"


def _rate_curves(axes: Any, requests: Sequence[Request], timing: compare_run.Timing) -> None:
    """Draws what was offered, and what came of it: in time, refused, failed."""
    edges = [number * BIN_S for number in range(round(timing.end_s / BIN_S) + 1)]
    steps = [(begin_s, per_s) for _, begin_s, _, per_s in timing.phases] + [(timing.end_s, timing.phases[-1][3])]
    at, offered = zip(*steps, strict=True)
    axes.fill_between(at, offered, step="post", color=SHADE, linewidth=0, label="offered")
    sorts: tuple[tuple[Callable[[Request], bool], str, float, str], ...] = (
        (lambda r: not refused(r) and not in_time(r, REPORT_TIMEOUT_S), BAD, 1.8, "too late"),
        (refused, REFUSED, 1.8, "refused"),
    )
    for is_one, colour, width, label in sorts:
        times = [request.done_s for request in requests if is_one(request)]
        if len(times) > len(requests) / 200:
            axes.plot(*_per_second(times, edges), color=colour, linewidth=width, label=label)
    middles, rate = _per_second([r.done_s for r in requests if in_time(r, REPORT_TIMEOUT_S)], edges)
    axes.fill_between(middles, rate, color=GOOD, alpha=0.28, linewidth=0)
    axes.plot(middles, rate, color=GOOD, linewidth=2.4, label="answered in time")
    axes.set(xlim=(0, timing.end_s), ylim=(0, max(offered) * 1.12))
    axes.legend(loc="upper right", handlelength=1.4)


def _per_second(times: Sequence[float], edges: Sequence[float]) -> tuple[list[float], list[float]]:
    counts = [0] * (len(edges) - 1)
    for at_s in times:
        if 0 <= at_s < edges[-1]:
            counts[int(at_s / BIN_S)] += 1
    return [edge + BIN_S / 2 for edge in edges[:-1]], [count / BIN_S for count in counts]


def _latency_points(axes: Any, requests: Sequence[Request], timing: compare_run.Timing) -> None:
    """Draws every request at the moment of its sending, coloured by what became of it."""
    for is_one, colour in (
        (lambda r: not refused(r) and not in_time(r, REPORT_TIMEOUT_S), BAD),
        (refused, REFUSED),
        (lambda r: in_time(r, REPORT_TIMEOUT_S), GOOD),
    ):
        points = [(request.intended_s, request.latency_s) for request in requests if is_one(request)]
        axes.scatter(
            [at for at, _ in points], [min(s, MOST_S) for _, s in points], s=5, color=colour, alpha=0.45, linewidths=0
        )
    axes.axhline(REPORT_TIMEOUT_S, color=QUIET, linewidth=1, linestyle=":")
    axes.text(timing.end_s, REPORT_TIMEOUT_S + 0.06, "time-out", color=QUIET, ha="right", va="bottom", fontsize=9)
    axes.set(xlabel="seconds", ylim=(-0.08, MOST_S))


def capacity(directory: Path, images: Path) -> list[Path]:
    """Draws every part that was measured: requests per second beside latency, both over what grows."""
    plt.rcParams |= {"savefig.dpi": 105}
    images.mkdir(parents=True, exist_ok=True)
    parts = map(Part.read, sorted(directory.glob("*.json")))
    return [_capacity(part, images / part.image) for part in parts]


def _capacity(part: Part, file: Path) -> Path:
    figure, (rate, latency) = plt.subplots(1, 2, figsize=CAPACITY_SIZE)
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
    if _latency_ratio(part) > 20:
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
    return save(figure, file)


def _scale(axes: Any, xs: list[float]) -> None:
    if max(xs) / min(xs) > 10:
        axes.set_xscale("log")
    else:  # twice as many are to be twice as far
        axes.set_xlim(0, None)
    axes.set_xticks(xs)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.tick_params(axis="x", labelcolor=INK)


def _latency_ratio(part: Part) -> float:
    values = [ms for curve in part.curves for point in curve.points for ms in (point.p50_ms, point.p99_ms)]
    return max(values) / max(1e-9, min(values))


def _plain(value: float, _: Any) -> str:
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (size if unit == 'M' else 1e3):g}{unit}"
    return f"{value:,g}"


def main(what: str, directory: str, *more: str) -> int:
    """Draws the pictures of a kind."""
    set_style()
    if what == "compare":
        drawn = compare(Path(directory), compare_run.Timing(*map(float, more)))
    elif what == "capacity":
        drawn = capacity(Path(directory), Path(*more))
    else:
        drawn = overload(Path(directory))
    for file in drawn:
        print(f"drawn: {os.path.relpath(file)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

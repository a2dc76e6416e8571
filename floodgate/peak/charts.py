"""The pictures of a run: what became of the load, latencies, the queue, processor time.

Owns what is drawn. Must not know where a picture is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]
from matplotlib.ticker import ScalarFormatter  # type: ignore[import-not-found, unused-ignore]

from floodgate.peak.result import Result
from floodgate.peak.sampling import ProcessSample, QueueSample, read_processes, read_queue
from floodgate.peak.statistics import Judged, Outcome, percentile

INK, QUIET, FAINT = "#1f2933", "#7b8794", "#e4e7eb"
GOOD, REFUSED, BAD, OFFERED, BLUE = "#1b7f5c", "#d98e1f", "#c2452d", "#52606d", "#2f6fb3"
"""In time, refused, late or in error, asked for; blue is for whatever is none of these."""
MANY = (BLUE, GOOD, REFUSED, "#8e5ea2", BAD, "#3aa6a0")
"""For several of a kind."""
WIDTH = 9.0
BIN_S = 1.0
SPAN_S = 2.0
"""Percentiles are of so much time: a second of a slow load has too few requests for a p99."""
LEAST_MS = 0.1
COLOURS = {"gateway": BLUE, "worker": GOOD, "Redis": BAD, "locust": QUIET}


def draw(directory: Path, found: Result) -> list[Path]:
    """Draws what there is to draw, and returns the files in the order in which they tell the story."""
    set_style()
    zero_s = found.asked[0].at_s
    drawn = [_time_line(directory / "timeline.png", found, zero_s), _latency(directory / "latency.png", found, zero_s)]
    if samples := read_queue(directory):
        drawn.append(_queue(directory / "queue.png", samples, zero_s))
    if used := read_processes(directory):
        drawn.append(_processes(directory / "processes.png", used, zero_s, found.asked[-1].at_s - zero_s))
    return drawn


def _time_line(file: Path, found: Result, zero_s: float) -> Path:
    """Draws the offered load by its turns, and the answers by when they came."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    asked = [(each.at_s - zero_s, each.users / found.plan.period_s) for each in found.asked]
    axes.step(*zip(*asked, strict=True), where="post", color=OFFERED, linestyle=":", label="asked for")
    last_s = max(row.done_s for row, _ in found.judged) - zero_s
    edges = [number * BIN_S for number in range(int(last_s / BIN_S) + 2)]
    sorts = (
        ("in time", GOOD, {Outcome.GOOD}),
        ("refused", REFUSED, {Outcome.REFUSED}),
        ("late or in error", BAD, {Outcome.LATE, Outcome.ERROR}),
    )
    for label, colour, outcomes in sorts:
        times = [row.done_s - zero_s for row, outcome in found.judged if outcome in outcomes]
        if times or colour is GOOD:
            axes.hist(
                times,
                edges,
                weights=[1 / BIN_S] * len(times),
                histtype="step",
                color=colour,
                linewidth=1.6,
                label=label,
            )
    axes.set(title="What became of the load", ylabel="requests/s", xlim=(0, last_s), ylim=(0, None))
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", ncols=4, bbox_to_anchor=(0, -0.16))
    return save(figure, file)


def _latency(file: Path, found: Result, zero_s: float) -> Path:
    """Draws what was admitted and what was refused apart: a mean of both would tell of neither."""
    figure, both = plt.subplots(2, 1, figsize=(WIDTH, 5.2), sharex=True, sharey=True)
    sorts = (
        ("Latency of what was admitted", GOOD, set(Outcome) - {Outcome.REFUSED}),
        ("Latency of refusals", REFUSED, {Outcome.REFUSED}),
    )
    for axes, (title, colour, outcomes) in zip(both, sorts, strict=True):
        chosen = [each for each in found.judged if each[1] in outcomes and each[0].status]
        points = [(row.due_s - zero_s, max(LEAST_MS, row.latency_s * 1000)) for row, _ in chosen]
        axes.scatter([at for at, _ in points], [ms for _, ms in points], s=3, color=colour, alpha=0.35, linewidths=0)
        for share, dashes in ((0.5, "-"), (0.99, "--")):
            line = _percentiles(chosen, share, zero_s)
            axes.plot([at for at, _ in line], [ms for _, ms in line], dashes, color=INK, linewidth=1, label=_p(share))
        axes.set(title=title, yscale="log", ylabel="ms")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        if points:
            axes.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0)
        else:
            axes.text(0.5, 0.5, "none", transform=axes.transAxes, color=QUIET, ha="center")
    both[-1].set_xlabel("seconds, by the turn of each request")
    figure.tight_layout()
    return save(figure, file)


def _percentiles(chosen: Sequence[Judged], share: float, zero_s: float) -> list[tuple[float, float]]:
    spans = itertools.groupby(chosen, key=lambda each: int((each[0].due_s - zero_s) / SPAN_S))
    return [
        ((number + 0.5) * SPAN_S, max(LEAST_MS, percentile((row.latency_s for row, _ in group), share) * 1000))
        for number, group in spans
    ]


def _p(share: float) -> str:
    return f"p{share * 100:g}"


def _queue(file: Path, samples: Sequence[QueueSample], zero_s: float) -> Path:
    """Draws waiting and running of each route against its limit, the fullest routes first."""
    routes = sorted(
        {sample.route for sample in samples}, key=lambda route: -max(_full(sample, route) for sample in samples)
    )[:6]
    figure, grid = plt.subplots(len(routes), 1, figsize=(WIDTH, 1.7 * len(routes) + 0.6), sharex=True, squeeze=False)
    for axes, route in zip(grid[:, 0], routes, strict=True):
        mine = [sample for sample in samples if sample.route == route]
        at = [sample.at_s - zero_s for sample in mine]
        axes.stackplot(
            at,
            [sample.running for sample in mine],
            [sample.waiting for sample in mine],
            colors=(GOOD, REFUSED),
            labels=("running", "waiting"),
            alpha=0.85,
        )
        axes.plot(at, [sample.limit for sample in mine], color=BAD, linestyle=":", label="limit")
        axes.set(title=route, ylabel="requests", ylim=(0, None))
    grid[0, 0].legend(loc="upper right", ncols=3)
    grid[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    return save(figure, file)


def _full(sample: QueueSample, route: str) -> float:
    return (sample.waiting + sample.running) / (sample.limit or 1) if sample.route == route else 0.0


def _processes(file: Path, samples: Sequence[ProcessSample], zero_s: float, end_s: float) -> Path:
    """Draws the processor time of each kind of process."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    for name in sorted({sample.name for sample in samples}):
        mine = [sample for sample in samples if sample.name == name and sample.at_s > zero_s]
        at = [sample.at_s - zero_s for sample in mine]
        axes.plot(at, [sample.cores for sample in mine], color=COLOURS.get(name, INK), label=name)
    axes.set(title="Processor time", ylabel="cores", xlabel="seconds", xlim=(0, end_s), ylim=(0, None))
    axes.legend(loc="upper left", ncols=4, bbox_to_anchor=(0, -0.22))
    return save(figure, file)


def set_style() -> None:
    """Lets matplotlib draw without a screen, in the style of the house."""
    mpl.use("Agg")
    plt.rcParams |= {
        "axes.edgecolor": QUIET,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "figure.facecolor": "white",
        "font.size": 9,
        "grid.color": FAINT,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.dpi": 120,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }


def save(figure: Any, file: Path) -> Path:
    """Writes a figure to a file and forget it."""
    figure.savefig(file, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)
    return file

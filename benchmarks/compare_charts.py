"""The picture of the comparison: `python -m benchmarks.compare_charts DIRECTORY BEFORE SPIKE AFTER`.

Owns how it looks: two columns, called directly and queued, on one scale. It has to
be understood at the width of a README, by somebody who reads nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]

from benchmarks import records
from benchmarks.arrivals import Request
from benchmarks.compare_spike import ROWS, Timing, figures
from benchmarks.handlers.compare import TIMEOUT_S
from benchmarks.overload_measuring import in_time, refused
from floodgate.peak import style
from floodgate.peak.style import BAD, GOOD, INK, QUIET, REFUSED

PICTURE = "compare.png"
NAMES = {"direct": "Called directly in FastAPI", "queued": "The same handler, queued"}
BIN_S = 1.0
MOST_S = 2.6
SHADE = "#dde2e8"
SIZE = (10.4, 5.6)


def main(directory: Path, timing: Timing) -> int:
    """Draw the picture into the directory."""
    style.set_style()
    plt.rcParams |= {"font.size": 10, "axes.titlesize": 12.5, "savefig.dpi": 110}
    figure, grid = plt.subplots(2, 2, figsize=SIZE, sharex=True, sharey="row", height_ratios=(3, 2))
    for column, (name, title) in enumerate(NAMES.items()):
        requests, _ = records.read(directory / name / ROWS)
        _rates(grid[0, column], requests, timing)
        _latencies(grid[1, column], requests, timing)
        grid[0, column].set_title(title, pad=22, color=BAD if name == "direct" else GOOD)
        grid[0, column].text(0, 1.035, _said(name, requests, timing), transform=grid[0, column].transAxes, color=INK)
    grid[0, 0].set_ylabel("requests per second")
    grid[1, 0].set_ylabel("latency, seconds")
    figure.tight_layout(h_pad=1.4, w_pad=2.2)
    file = style.save(figure, directory / PICTURE)
    print(f"drawn: {os.path.relpath(file)}")
    return 0


def _said(name: str, requests: Sequence[Request], timing: Timing) -> str:
    """Return the sentence above a column, with its figures."""
    _, during, after = figures(requests, timing)
    goodput, left = f"{during.goodput_per_s:.0f}/s in time during the spike", f"{after.goodput_per_s:.0f}/s"
    if name == "direct":
        return f"{goodput}, and {left} in the {timing.after_s:.0f} s after it"
    return f"{goodput}, and everything after it"


def _rates(axes: Any, requests: Sequence[Request], timing: Timing) -> None:
    """Draw what was offered, and what came of it: in time, refused, failed."""
    edges = [number * BIN_S for number in range(round(timing.end_s / BIN_S) + 1)]
    steps = [(begin_s, per_s) for _, begin_s, _, per_s in timing.phases] + [(timing.end_s, timing.phases[-1][3])]
    at, offered = zip(*steps, strict=True)
    axes.fill_between(at, offered, step="post", color=SHADE, linewidth=0, label="offered")
    sorts: tuple[tuple[Callable[[Request], bool], str, float, str], ...] = (
        (lambda r: not refused(r) and not in_time(r, TIMEOUT_S), BAD, 1.8, "too late"),
        (refused, REFUSED, 1.8, "refused"),
    )
    for is_one, colour, width, label in sorts:
        times = [request.done_s for request in requests if is_one(request)]
        if len(times) > len(requests) / 200:
            axes.plot(*_per_second(times, edges), color=colour, linewidth=width, label=label)
    middles, rate = _per_second([r.done_s for r in requests if in_time(r, TIMEOUT_S)], edges)
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


def _latencies(axes: Any, requests: Sequence[Request], timing: Timing) -> None:
    """Draw every request at the moment of its sending, coloured by what became of it."""
    for is_one, colour in (
        (lambda r: not refused(r) and not in_time(r, TIMEOUT_S), BAD),
        (refused, REFUSED),
        (lambda r: in_time(r, TIMEOUT_S), GOOD),
    ):
        points = [(request.intended_s, request.latency_s) for request in requests if is_one(request)]
        axes.scatter(
            [at for at, _ in points], [min(s, MOST_S) for _, s in points], s=5, color=colour, alpha=0.45, linewidths=0
        )
    axes.axhline(TIMEOUT_S, color=QUIET, linewidth=1, linestyle=":")
    axes.text(timing.end_s, TIMEOUT_S + 0.06, "time-out", color=QUIET, ha="right", va="bottom", fontsize=9)
    axes.set(xlabel="seconds", ylim=(-0.08, MOST_S))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Timing(*map(float, sys.argv[2:5]))))

"""`make compare`: one spike, twice, on one handler: called directly in FastAPI, and queued.

Owns the phases of the spike and the words for them. Both systems ask the simulated database of profile P3,
a process of its own that does most with eight calls at once. Prints the metrics, draws the picture of the
README. Exit code: 0, or 2 when the spike was not sent soundly.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks.arrivals import Request, Stream, read_records
from benchmarks.handlers.plain import REPORT_TIMEOUT_S
from benchmarks.load_run import load_run
from benchmarks.statistics import Soundness, in_time, refused
from benchmarks.testbed import BARE, ROOT, AppFailed, Setup
from floodgate.peak.statistics import grid, percentile

DIRECTORY = Path(".cache/compare")
PICTURE = "compare.png"
PUBLISHED = ROOT / "docs/images" / PICTURE
INVALID = 2
BASE_PER_S = 40.0
"""Half of what the database can answer at its best."""
SPIKE_PER_S = 200.0
SEED = 1
PATIENCE_S = 1.0
"""Beyond the time-out: then a client has left without an answer."""
SETTLE_S = 2.0
"""After each change of load, what does not count in the metrics; the picture shows it."""
TAIL_S = 3.0
"""The load goes on for so long after what is shown: its end would look like a recovery."""
ROWS = "requests.csv"
SETUPS = {
    "direct": Setup(workers=0, gateway=BARE, database=True, pinned=True),
    "queued": Setup(gateway=None, database=True, pinned=True),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each part is, in s."""

    before_s: float = 10.0
    spike_s: float = 10.0
    after_s: float = 20.0

    @property
    def end_s(self) -> float:
        return self.before_s + self.spike_s + self.after_s

    @property
    def phases(self) -> tuple[tuple[str, float, float, float], ...]:
        """Returns name, begin, end and offered rate of each."""
        spike_s, back_s = self.before_s, self.before_s + self.spike_s
        return (
            ("before", 0.0, spike_s, BASE_PER_S),
            ("spike", spike_s, back_s, SPIKE_PER_S),
            ("after", back_s, self.end_s, BASE_PER_S),
        )


@dataclass(frozen=True, slots=True)
class PhaseMetrics:
    """Of one phase; latencies are in s, of what was neither refused nor unanswered."""

    phase: str
    offered_per_s: float
    goodput_per_s: float
    refused_per_s: float
    failed_per_s: float
    p50_s: float
    p99_s: float
    refusal_p99_s: float


SHORT = Timing(before_s=2.0, spike_s=2.0, after_s=4.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both, prints the table, draws the picture, returns the exit code."""
    options = _options(arguments)
    timing = SHORT if options.short else Timing()
    directory = (options.directory / time.strftime("%Y%m%d-%H%M%S")).resolve()
    directory.mkdir(parents=True)
    gc.disable()  # a pause of the collector would be one of the schedule
    complaints, found = [], {}
    try:
        for name in SETUPS:
            print(f"{name}: a spike of {timing.spike_s:g} s within {timing.end_s:g} s", flush=True)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                requests, sound = runner.run(spike(name, timing, directory))
            complaints += sound.complaints()
            found[name] = measure(requests, timing)
    except AppFailed as error:
        print(error, file=sys.stderr)
        return INVALID
    text = "\n".join([table(found), *complaints])
    (directory / "report.txt").write_text(f"{text}\n")
    print(f"\n{text}", flush=True)
    command = [sys.executable, "-m", "benchmarks.charts", "compare", str(directory), *map(str, asdict(timing).values())]
    drawn = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    if drawn and options.publish and not complaints:
        PUBLISHED.parent.mkdir(exist_ok=True)
        shutil.copyfile(directory / PICTURE, PUBLISHED)
    return INVALID if complaints or not drawn else 0


def table(found: Mapping[str, Sequence[PhaseMetrics]]) -> str:
    """Returns the metrics of all phases, direct beside queued."""
    head = ("", "", "offered/s", "in time/s", "refused/s", "failed/s", "p50 ms", "p99 ms", "refusal p99 ms")
    rows: list[tuple[str, ...]] = [head]
    for name, phases in found.items():
        for number, each in enumerate(phases):
            rates = f"{each.offered_per_s:.0f}", f"{each.goodput_per_s:.1f}", f"{each.refused_per_s:.0f}"
            times = map(_ms, (each.p50_s, each.p99_s, each.refusal_p99_s))
            rows.append(("" if number else name, each.phase, *rates, f"{each.failed_per_s:.1f}", *times))
    return grid(rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if not math.isnan(seconds) else "–"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="some seconds of each; to see that it works")
    parser.add_argument("--publish", action="store_true", help=f"keep the picture as {PUBLISHED.relative_to(ROOT)}")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="%(default)s")
    return parser.parse_args(arguments)


async def spike(name: str, timing: Timing, directory: Path) -> tuple[list[Request], Soundness]:
    """Puts the spike on one system; returns its requests, with times from the start, and how soundly they were sent."""
    streams = [Stream(kind, "/report", per_s, from_s, to_s - from_s) for kind, from_s, to_s, per_s in timing.phases]
    streams.append(Stream("tail", "/report", BASE_PER_S, timing.end_s, TAIL_S))
    async with load_run(SETUPS[name], directory / name, SEED, REPORT_TIMEOUT_S + PATIENCE_S) as run:
        await run.load(streams)
        run.origin_s = run.start_s  # the records' times count from the start of the load
        sound = run.soundness(name)
    return read_records(directory / name / ROWS)[0], sound


def measure(requests: Sequence[Request], timing: Timing) -> list[PhaseMetrics]:
    """Returns the metrics of each phase, without its first moments; goodput counts by the time of the answer."""
    found = []
    for name, start_s, end_s, _ in timing.phases:
        begin_s = start_s + min(SETTLE_S, (end_s - start_s) / 4)
        seconds = end_s - begin_s
        asked = [request for request in requests if begin_s <= request.intended_s < end_s]
        good = sum(begin_s <= r.done_s < end_s for r in requests if in_time(r, REPORT_TIMEOUT_S))
        away = [request.latency_s for request in asked if refused(request)]
        answered = [r.latency_s for r in asked if not refused(r) and r.status]
        failed = sum(not refused(request) and not in_time(request, REPORT_TIMEOUT_S) for request in asked)
        found.append(
            PhaseMetrics(
                name,
                len(asked) / seconds,
                good / seconds,
                len(away) / seconds,
                failed / seconds,
                percentile(answered, 0.5),
                percentile(answered, 0.99),
                percentile(away, 0.99),
            )
        )
    return found


if __name__ == "__main__":
    sys.exit(main())

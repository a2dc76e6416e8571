"""What the queue costs, measured on this machine: `make bench`, or `python -m benchmarks.bench --help`.

One gateway process, one worker process, one Redis (REDIS_URL, else the embedded
server), beside plain FastAPI under the same server. Exits 0 when every goal is
met, 1 when one is missed, 2 when it cannot measure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from benchmarks import bench_curve, bench_parts, bench_streams, redis_server
from benchmarks.bench_run import BenchRun
from benchmarks.concurrent_clients import ClientsFailed
from benchmarks.statistics import Metric, missed, table
from benchmarks.testbed import AppFailed, lift_file_limit
from benchmarks.wrk import WrkFailed, is_missing
from floodgate.run.embedded_server import ServerFailed

PARTS: dict[str, Callable[[BenchRun], list[Metric]]] = {
    "curve": bench_curve.measure,
    "counts": bench_parts.counts,
    "memory": bench_parts.memory,
    "waiting": bench_parts.waiting,
    "routes": bench_parts.routes,
    "workers": bench_parts.workers,
    "streams": bench_streams.measure,
}
WITHOUT_WRK = {"counts", "memory", "waiting", "streams"}
SHORT = ("curve", "counts", "memory", "waiting")
OPEN_FILES = 12_000
"""Sockets of the largest number of concurrent clients, and some."""


class CannotMeasure(Exception):
    """Something that the benchmark needs is not there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what was asked for, prints the table, returns the exit code."""
    given = _parser().parse_args(argv)
    parts = given.only or (SHORT if given.short else tuple(PARTS))
    try:
        if is_missing() and not set(parts) <= WITHOUT_WRK:
            raise CannotMeasure("wrk is needed, and not here; it is Debian's package wrk: apt install wrk")
        if (most := lift_file_limit()) < OPEN_FILES:
            raise CannotMeasure(f"{OPEN_FILES} open files are needed, and {most} allowed: see `ulimit -Hn`")
        with redis_server.opened() as server:
            rounds, seconds = (1, 1.0) if given.short else (given.rounds, given.seconds)
            bench = BenchRun(server, rounds, seconds, short=given.short)
            metrics = [metric for part in parts for metric in _measured(bench, part)] + bench.losses()
    except (CannotMeasure, ServerFailed, AppFailed, ClientsFailed, WrkFailed, psutil.NoSuchProcess) as error:
        print(error, file=sys.stderr)
        return 2
    _keep(given.json, bench, metrics)
    print(f"{bench.machine}; {bench.rounds} rounds of {bench.seconds:g} s\n")
    print("\n\n".join([table(metrics, only_counts=bench.short, met_by=0), *bench.notes]))
    return 1 if missed(metrics, only_counts=bench.short, met_by=0) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description="Measure what the queue costs on this machine, against its goals."
    )
    parser.add_argument("--only", metavar="PART", choices=PARTS, action="append", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=10, help="how often everything is measured (10)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (5)")
    parser.add_argument("--short", action="store_true", help="about a minute; judges nothing but counts")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench.json"), help="where all runs go")
    return parser


def _measured(bench: BenchRun, part: str) -> list[Metric]:
    bench.say(f"--- {part}")
    return PARTS[part](bench)


def _keep(path: Path, bench: BenchRun, metrics: Sequence[Metric]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "machine": bench.machine,
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "metrics": [{**asdict(metric), "measured": metric.median, "is_met": metric.is_met(0)} for metric in metrics],
        "runs": bench.runs,
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

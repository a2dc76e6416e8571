"""What the queue costs, measured on this machine: `make bench`, or `python -m loadtest.bench --help`.

One gateway process, one worker process, one Redis (REDIS_URL, else the embedded
server), beside plain FastAPI under the same server. Exits 0 when every goal is
met, 1 when one is missed, 2 when it cannot measure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from floodgate.run.embedded_server import EmbeddedServer, ServerFailed
from loadtest import bench_counts, bench_curve, bench_fleet, bench_waiting
from loadtest.bench_apps import AppFailed
from loadtest.bench_crowd import CrowdFailed
from loadtest.bench_figures import Figure, missed, table
from loadtest.bench_lab import Lab
from loadtest.bench_server import Server
from loadtest.bench_wrk import WrkFailed, is_missing

PARTS: dict[str, Callable[[Lab], list[Figure]]] = {
    "curve": bench_curve.measure,
    "counts": bench_counts.counts,
    "memory": bench_waiting.memory,
    "waiting": bench_waiting.waiting,
    "routes": bench_fleet.routes,
    "workers": bench_fleet.workers,
}
WITHOUT_WRK = {"counts", "memory", "waiting"}
SHORT = ("curve", "counts", "memory", "waiting")
OPEN_FILES = 12_000
"""Sockets of the largest crowd, and some."""


class CannotMeasure(Exception):
    """Something that the benchmark needs is not there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print the table, return the exit code."""
    given = _parser().parse_args(argv)
    parts = given.only or (SHORT if given.short else tuple(PARTS))
    try:
        if is_missing() and not set(parts) <= WITHOUT_WRK:
            raise CannotMeasure("wrk is needed, and not here; it is Debian's package wrk: apt install wrk")
        _allow_open_files()
        with _server() as server:
            rounds, seconds = (1, 1.0) if given.short else (given.rounds, given.seconds)
            lab = Lab(server, rounds, seconds, short=given.short)
            figures = [figure for part in parts for figure in _measured(lab, part)] + lab.losses()
    except (CannotMeasure, ServerFailed, AppFailed, CrowdFailed, WrkFailed, psutil.NoSuchProcess) as error:
        print(error, file=sys.stderr)
        return 2
    _keep(given.json, lab, figures)
    print(f"{lab.machine}; {lab.rounds} rounds of {lab.seconds:g} s\n")
    print("\n\n".join([table(figures, only_counts=lab.short), *lab.notes]))
    return 1 if missed(figures, only_counts=lab.short) else 0


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


def _measured(lab: Lab, part: str) -> list[Figure]:
    lab.say(f"--- {part}")
    return PARTS[part](lab)


@contextlib.contextmanager
def _server() -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        url = os.environ.get("REDIS_URL") or stack.enter_context(EmbeddedServer()).url
        yield stack.enter_context(contextlib.closing(Server(url)))


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise CannotMeasure(f"{OPEN_FILES} open files are needed, and {hard} allowed: see `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def _keep(path: Path, lab: Lab, figures: Sequence[Figure]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "machine": lab.machine,
        "rounds": lab.rounds,
        "seconds": lab.seconds,
        "figures": [{**asdict(figure), "measured": figure.measured, "is_met": figure.is_met} for figure in figures],
        "runs": lab.runs,
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

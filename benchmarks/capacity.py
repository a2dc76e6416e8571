"""`make capacity`: what this machine carries, measured into `docs/performance.md`.

Requests per second and latency against request threads, workers, routes, waiting
requests and payload. Takes seven minutes, or some of them with `--only`. Exit code:
0, or 2 when it cannot measure.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

from benchmarks import redis_server
from benchmarks.bench_run import BenchRun
from benchmarks.capacity_parts import PARTS, NotAnswered, Part, Point
from benchmarks.concurrent_clients import ClientsFailed
from benchmarks.testbed import ROOT, AppFailed, lift_file_limit
from benchmarks.wrk import WrkFailed, is_missing
from floodgate.peak.statistics import grid
from floodgate.run.embedded_server import ServerFailed

DOCUMENT = ROOT / "docs/performance.md"
KEPT = Path(".cache/capacity")
CANNOT = 2
SHORT_S = 0.5
"""wrk makes a second of it."""
IMAGES = "images"
WIDTH = 120
NOISY = 0.25
"""From such a spread on, the page says that the machine was noisy."""


class NoMark(Exception):
    """The document has no place for a part."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked for, writes it into the document, returns the exit code."""
    options = _options(arguments)
    if is_missing():
        print("wrk is needed, and not here; it is Debian's package wrk: apt install wrk", file=sys.stderr)
        return CANNOT
    lift_file_limit()
    directory = Path(options.directory / time.strftime("%Y%m%d-%H%M%S")).resolve()
    try:
        check(options.document, options.only or PARTS)
        with redis_server.opened() as server:
            rounds, seconds = (1, SHORT_S) if options.short else (options.rounds, options.seconds)
            bench = BenchRun(server, rounds, seconds, short=options.short)
            bench.machine = _machine(server.version)
            for name in options.only or PARTS:
                bench.say(f"--- {name}")
                part = PARTS[name](bench)
                part.write(directory)
                print(f"\n{part.title}\n\n{table(part)}\n", flush=True)
                write(options.document, part)
    except (ServerFailed, AppFailed, ClientsFailed, WrkFailed, NotAnswered, NoMark) as error:
        print(error, file=sys.stderr)
        return CANNOT
    images = options.document.parent / IMAGES
    command = [sys.executable, "-m", "benchmarks.charts", "capacity", str(directory), str(images)]
    return CANNOT if subprocess.run(command, cwd=ROOT, check=False).returncode else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.capacity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="PART", choices=PARTS, action="append", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true", help="a point of each, for a second: to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often each point is measured; %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement; %(default)s")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="docs/performance.md")
    parser.add_argument("--directory", type=Path, default=KEPT, help="where all curves are kept; %(default)s")
    return parser.parse_args(arguments)


def _machine(server: str) -> str:
    """Names what was measured on: clients, gateway, workers and Redis shared it."""
    model, system = "processors", platform.system()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = f"processors ({names[0]})" if names else model
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return (
        f"{os.cpu_count()} {model} for clients and system together, {system}, Python {platform.python_version()}, "
        f"{server}"
    )


def check(document: Path, parts: Iterable[str]) -> None:
    """Raises `NoMark` when a document has no place for one of these parts: better before than after minutes of load."""
    text = document.read_text() if document.is_file() else ""
    for part in parts:
        if not _place(part).search(text):
            raise NoMark(f"{document} has no {_begin(part)} … {_end(part)}")


def write(document: Path, part: Part) -> None:
    """Puts a part where its mark stands in a document; raises `NoMark`."""
    check(document, [part.name])
    filled = f"{_begin(part.name)}\n{section(part)}\n{_end(part.name)}"
    document.write_text(_place(part.name).sub(lambda _: filled, document.read_text()))


def _begin(part: str) -> str:
    return f"<!-- capacity {part} -->"


def _end(part: str) -> str:
    return f"<!-- end of {part} -->"


def _place(part: str) -> re.Pattern[str]:
    return re.compile(re.escape(_begin(part)) + ".*?" + re.escape(_end(part)), re.DOTALL)


def section(part: Part) -> str:
    """Returns the Markdown of a part."""
    image = f"![{part.title}]({IMAGES}/{part.image})"
    machine = f"Measured on {part.machine}.{noise(part)}"
    return "\n\n".join((fill(part.how, WIDTH), image, table(part), fill(machine, WIDTH)))


def noise(part: Part) -> str:
    """Returns what the rounds say of the machine; nothing when there was one only."""
    if not part.spread:
        return ""
    text = f" The same point, measured again, differed by up to {part.spread:.0%} in its requests/s"
    return f"{text}: the machine was noisy, take the figures as a size." if part.spread > NOISY else f"{text}."


def table(part: Part) -> str:
    """Returns all points of a part, a row for each."""
    several = len(part.curves) > 1
    more = list(dict.fromkeys(name for curve in part.curves for point in curve.points for name in point.more))
    head = (part.grows, *([""] if several else []), "requests/s", "p50 ms", "p99 ms", *more)
    rows: list[tuple[str, ...]] = [head]
    for index in range(len(part.curves[0].points)):
        for number, curve in enumerate(part.curves):
            point = curve.points[index]
            named = [curve.name] if several else []
            rows.append(("" if number else f"{point.x:,.0f}", *named, *_cells(point, more)))
    return grid(rows)


def _cells(point: Point, more: list[str]) -> list[str]:
    cells = [f"{point.per_s:,.0f}", _short(point.p50_ms), _short(point.p99_ms)]
    return cells + [_short(point.more[name]) if name in point.more else "" for name in more]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())

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
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from floodgate.run.embedded_server import EmbeddedServer, ServerFailed
from loadtest import capacity_page
from loadtest.bench_apps import AppFailed
from loadtest.bench_crowd import CrowdFailed
from loadtest.bench_lab import Lab
from loadtest.bench_server import Server
from loadtest.bench_wrk import WrkFailed, is_missing
from loadtest.capacity_page import NoMark
from loadtest.capacity_parts import PARTS, NotAnswered

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/performance.md"
KEPT = Path(".cache/capacity")
CANNOT = 2
SHORT_S = 0.5
"""wrk makes a second of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, write it into the document, return the exit code."""
    options = _options(arguments)
    if is_missing():
        print("wrk is needed, and not here; it is Debian's package wrk: apt install wrk", file=sys.stderr)
        return CANNOT
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    directory = Path(options.directory / time.strftime("%Y%m%d-%H%M%S")).resolve()
    try:
        capacity_page.check(options.document, options.only or PARTS)
        with contextlib.ExitStack() as stack:
            url = os.environ.get("REDIS_URL") or stack.enter_context(EmbeddedServer()).url
            server = stack.enter_context(contextlib.closing(Server(url)))
            rounds, seconds = (1, SHORT_S) if options.short else (options.rounds, options.seconds)
            lab = Lab(server, rounds, seconds, short=options.short)
            lab.machine = _machine(server.version)
            for name in options.only or PARTS:
                lab.say(f"--- {name}")
                part = PARTS[name](lab)
                part.write(directory)
                print(f"\n{part.title}\n\n{capacity_page.table(part)}\n", flush=True)
                capacity_page.write(options.document, part)
    except (ServerFailed, AppFailed, CrowdFailed, WrkFailed, NotAnswered, NoMark) as error:
        print(error, file=sys.stderr)
        return CANNOT
    images = options.document.parent / capacity_page.IMAGES
    command = [sys.executable, "-m", "loadtest.capacity_drawing", str(directory), str(images)]
    return CANNOT if subprocess.run(command, cwd=ROOT, check=False).returncode else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest.capacity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="PART", choices=PARTS, action="append", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true", help="a point of each, for a second: to see that it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often each point is measured; %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement; %(default)s")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="docs/performance.md")
    parser.add_argument("--directory", type=Path, default=KEPT, help="where all figures are kept; %(default)s")
    return parser.parse_args(arguments)


def _machine(server: str) -> str:
    """Name what was measured on: clients, gateway, workers and Redis shared it."""
    model, system = "processors", platform.system()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as told:
        names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
        model = f"processors ({names[0]})" if names else model
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return (
        f"{os.cpu_count()} {model} for clients and system together, {system}, Python {platform.python_version()}, "
        f"{server}"
    )


if __name__ == "__main__":
    sys.exit(main())

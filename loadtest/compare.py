"""`make compare`: one spike, twice, on one handler: called directly in FastAPI, and queued.

Both ask the simulated database of profile P3, a process of its own that does most
with eight calls at once. Prints the figures, draws the picture of the README.
Exit code: 0, or 2 when the spike was not sent soundly.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from floodgate.run.embedded_server import EmbeddedServer
from floodgate.run.processes import with_parent_death_signal
from loadtest.bench_apps import App, AppFailed, app
from loadtest.bench_figures import grid
from loadtest.compare_handlers.routes import DATABASE
from loadtest.compare_spike import ROWS, Figures, Timing, figures, spike
from loadtest.overload_system import cores, pinned

ROOT = Path(__file__).parents[1]
DIRECTORY = Path(".cache/compare")
PICTURE = "compare.png"
PUBLISHED = ROOT / "docs/images" / PICTURE
DIRECT = "loadtest.compare_app:build()"
READY_S = 10.0
SHORT = Timing(before_s=2.0, spike_s=2.0, after_s=4.0)
INVALID = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, print the table, draw the picture, return the exit code."""
    options = _options(arguments)
    timing = SHORT if options.short else Timing()
    directory = (options.directory / time.strftime("%Y%m%d-%H%M%S")).resolve()
    directory.mkdir(parents=True)
    gc.disable()  # a pause of the collector would be one of the schedule
    complaints, found = [], {}
    try:
        for name in ("direct", "queued"):
            print(f"{name}: a spike of {timing.spike_s:g} s within {timing.end_s:g} s", flush=True)
            with _running(name, directory) as served, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                requests, sound = runner.run(spike(served.port, timing, directory / name / ROWS))
            print(f"  {sound}", flush=True)
            complaints += sound.complaints()
            found[name] = figures(requests, timing)
    except AppFailed as error:
        print(error, file=sys.stderr)
        return INVALID
    text = "\n".join([table(found), *complaints])
    (directory / "report.txt").write_text(f"{text}\n")
    print(f"\n{text}", flush=True)
    command = [sys.executable, "-m", "loadtest.compare_drawing", str(directory), *map(str, asdict(timing).values())]
    drawn = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    if drawn and options.publish and not complaints:
        PUBLISHED.parent.mkdir(exist_ok=True)
        shutil.copyfile(directory / PICTURE, PUBLISHED)
    return INVALID if complaints or not drawn else 0


def table(found: Mapping[str, Sequence[Figures]]) -> str:
    """Return the figures of all phases, direct beside queued."""
    rows = [("", "", "offered/s", "in time/s", "refused/s", "failed/s", "p50 ms", "p99 ms", "refusal p99 ms")]
    for name, phases in found.items():
        for number, each in enumerate(phases):
            rows.append(
                (
                    "" if number else name,
                    each.phase,
                    f"{each.offered_per_s:.0f}",
                    f"{each.goodput_per_s:.1f}",
                    f"{each.refused_per_s:.0f}",
                    f"{each.failed_per_s:.1f}",
                    _ms(each.p50_s),
                    _ms(each.p99_s),
                    _ms(each.refusal_p99_s),
                )
            )
    return grid(rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}" if not math.isnan(seconds) else "–"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="some seconds of each; to see that it works")
    parser.add_argument("--publish", action="store_true", help=f"keep the picture as {PUBLISHED.relative_to(ROOT)}")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="%(default)s")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _running(name: str, directory: Path) -> Iterator[App]:
    """Run one of the two systems with a database of its own, on the core that the generator does not use."""
    (directory / name).mkdir()
    theirs, ours = cores()
    # A socket's path has to be short.
    env = {DATABASE: os.path.relpath(directory / name / "db", ROOT), "FLOODGATE_HANDLERS": "loadtest.compare_handlers"}
    env |= {"FLOODGATE_NAMESPACE": f"compare{secrets.token_hex(4)}"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned(ours))
        stack.enter_context(_database(env[DATABASE]))
        stack.enter_context(pinned(theirs))
        if name == "queued":
            env["REDIS_URL"] = stack.enter_context(EmbeddedServer(unix=True)).url
            stack.enter_context(app("worker", None, env))
        served = stack.enter_context(app("gateway", None if name == "queued" else DIRECT, env))
        with pinned(ours):
            yield served


@contextlib.contextmanager
def _database(socket: str) -> Iterator[None]:
    command = [sys.executable, "-m", "loadtest.database", socket]
    process = subprocess.Popen(with_parent_death_signal(command, signal.SIGKILL), cwd=ROOT)
    try:
        until_s = time.monotonic() + READY_S
        while not (ROOT / socket).exists() and time.monotonic() < until_s:
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())

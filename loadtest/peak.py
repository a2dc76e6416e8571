"""`make peak`: puts a load of some shape on HOST, and says how HOST did.

Runs locust, shows how far it is, watches the processes and the queue meanwhile.
Keeps rows and report under `.cache/peak`. Exit code: 0 every threshold is kept, 1
one is not, 2 the run is invalid or could not be made.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from floodgate.run.processes import with_parent_death_signal
from loadtest import thresholds
from loadtest.openapi import NoDocument, fetch
from loadtest.peak_plan import DOCUMENT, VARIABLE, BadPlan, Plan, plan
from loadtest.peak_progress import Progress
from loadtest.peak_result import THRESHOLDS, Verdict, result
from loadtest.peak_watch import Processes
from loadtest.queue_looks import Queue
from loadtest.thresholds import BadThresholds, Thresholds
from loadtest.traffic import askable

ROOT = Path(__file__).parents[1]
DIRECTORY = Path(".cache/peak")
MARGIN_S = 1.0
"""Beyond the longest deadline, until the slowest answer is here."""
LOOK_S = 1.0
END_S = 60.0
LOG = "locust.log"
WEB_PORT = "8089"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the environment asks for, print the table, return the exit code."""
    options = _options(arguments)
    try:
        wanted = thresholds.load(options.thresholds)
        worst_s = wanted.longest_deadline_s + MARGIN_S
        asked = plan(os.environ, worst_s, shaped=not options.ui)
        document = fetch(asked.host, os.environ.get("OPENAPI") or "/openapi.json")
    except (BadThresholds, BadPlan, NoDocument) as error:
        print(error, file=sys.stderr)
        if isinstance(error, NoDocument):
            print(
                "start `make dev` in another terminal, with the same GATEWAY_PORT if you chose one, "
                "or name a system: make peak HOST=http://…",
                file=sys.stderr,
            )
        return int(Verdict.INVALID)
    directory = _kept(options, asked, document)
    _announce(asked, document, worst_s, directory, wanted)
    code, interrupted = _run(asked, directory, ui=options.ui)
    if code != 0 and not interrupted:
        print((directory / LOG).read_text()[-3000:], file=sys.stderr)
        print(f"locust ended with {code}: {directory / LOG}", file=sys.stderr)
        return int(Verdict.INVALID)
    return _tell(directory, INTERRUPTED if interrupted and not options.ui else None)


def _tell(directory: Path, code: int | None) -> int:
    """Print what the run came to and let it be drawn."""
    found = result(directory)
    text = str(found)
    (directory / "report.txt").write_text(f"{text}\n")
    print(f"\n{text}", flush=True)
    if found.routes:
        subprocess.run([sys.executable, "-m", "loadtest.report", str(directory)], cwd=ROOT, check=False)
    return int(found.verdict) if code is None else code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    told = "HOST, SHAPE, USERS, RPS, SECONDS, PROCESSES and OPENAPI in the environment; see loadtest/README.md"
    parser = argparse.ArgumentParser(prog="loadtest.peak", description=(__doc__ or "").partition("\n")[0], epilog=told)
    parser.add_argument("--ui", action="store_true", help="locust's own page instead of a run of its own")
    parser.add_argument("--thresholds", type=Path, default=thresholds.FILE, help="%(default)s")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where runs are kept; %(default)s")
    return parser.parse_args(arguments)


def _kept(options: argparse.Namespace, asked: Plan, document: object) -> Path:
    """Make the directory of the run, with all that its processes and its report read."""
    directory = Path(options.directory / f"{asked.shape or 'ui'}-{time.strftime('%Y%m%d-%H%M%S')}").resolve()
    directory.mkdir(parents=True)
    asked.write(directory)
    (directory / DOCUMENT).write_text(json.dumps(document))
    shutil.copyfile(options.thresholds, directory / THRESHOLDS)
    return directory


def _announce(asked: Plan, document: dict[str, object], worst_s: float, directory: Path, wanted: Thresholds) -> None:
    operations, complaints = askable(document)
    for complaint in complaints:
        print(f"not asked: {complaint}")
    rate = f"{asked.per_s:g}/s by {asked.users} users"
    what = f"shape {asked.shape}, {asked.seconds:g} s, base {rate}" if asked.shape else "as its page says"
    print(f"{asked.host}: {len(operations)} operations, {what}; everything is kept in {os.path.relpath(directory)}")
    if asked.period_s < worst_s:
        print(
            f"{asked.users} users keep up {asked.per_s:g}/s only while answers come within {asked.period_s:.1f} s; "
            f"the longest deadline is {wanted.longest_deadline_s:g} s"
        )
    sys.stdout.flush()


def _run(asked: Plan, directory: Path, *, ui: bool) -> tuple[int, bool]:
    """Run locust to its end; return its exit code, and whether somebody ended it early."""
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--host", asked.host]
    command += [
        "--stop-timeout",
        str(math.ceil(asked.period_s + MARGIN_S)),
        "--exit-code-on-error",
        "0",
        "--loglevel",
        "INFO",
    ]
    command += ["--processes", str(asked.processes)] if asked.processes > 1 else []
    command += [] if ui else ["--headless", "--only-summary"]
    if ui and not asked.shape:
        command += ["--users", str(asked.users), "--spawn-rate", str(asked.users)]
    _lift_file_limit()
    with (directory / LOG).open("wb") as log:
        process = subprocess.Popen(
            with_parent_death_signal(command, signal.SIGTERM),
            cwd=ROOT,
            env=os.environ | {VARIABLE: str(directory / "plan.json")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if ui:
        port = os.environ.get("LOCUST_WEB_PORT") or WEB_PORT
        print(f"locust's page: http://127.0.0.1:{port}; Ctrl-C ends it and makes the report", flush=True)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(process, asked, directory)
            return process.wait(), False
        process.send_signal(signal.SIGINT)
        return process.wait(END_S), True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _follow(process: subprocess.Popen[bytes], asked: Plan, directory: Path) -> None:
    """Watch until locust has ended."""
    processes, queue, progress = (
        Processes(asked.host, directory),
        Queue(asked.host, directory, os.environ),
        Progress(directory),
    )
    while process.poll() is None:
        began_s = time.monotonic()
        cores, looks = processes.look(), queue.look()
        if line := progress.line(cores, looks):
            print(line, flush=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.05, LOOK_S - (time.monotonic() - began_s)))


def _lift_file_limit() -> None:
    """Every request under way is a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())

"""`make overload`: puts the engine under more load than it can carry, and judges what it does.

`PROFILE=p1|p2|p3|p4` runs the blocks of a profile; `PART=…` one of the parts.
Keeps its rows and pictures under `.cache/overload`. Exit code: 0 every goal is
met, 1 one is not, 2 the run is invalid, since it was not measured soundly.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from floodgate.run.embedded_server import ServerFailed
from loadtest.overload_judging import Outcome, Verdict, table
from loadtest.overload_parts import PARTS
from loadtest.overload_plan import PROFILES, Timing
from loadtest.overload_profile import run_profile
from loadtest.overload_short import run_short
from loadtest.overload_system import AppFailed

DIRECTORY = Path(".cache/overload")
SEED = 1
INTERRUPTED = 130
WORDS = {
    Verdict.PASSED: "passed: every goal is met",
    Verdict.FAILED: "FAILED: see the lines above",
    Verdict.INVALID: "INVALID: not measured soundly, so neither passed nor failed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the table, return the exit code."""
    options = _options(arguments)
    name = options.part or f"{options.profile}{'-short' if options.short else ''}"
    directory = options.directory / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    print(f"{name}: rows, logs and pictures in {directory}", flush=True)
    directory.mkdir(parents=True)
    gc.disable()  # a pause of the collector would be one of the schedule; records have no cycles
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcome = runner.run(_run(options, directory))
    except (AppFailed, ServerFailed) as error:
        print(f"{error}\n{WORDS[Verdict.INVALID]}", file=sys.stderr)
        return int(Verdict.INVALID)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured so far is in {directory}", file=sys.stderr)
        return INTERRUPTED
    text = "\n".join([table(outcome.lines), *outcome.complaints, WORDS[outcome.verdict]])
    (directory / "report.txt").write_text(f"{text}\n")
    print(text, flush=True)
    if not options.short:
        subprocess.run([sys.executable, "-m", "loadtest.overload_drawing", str(directory)], check=False)
    return int(outcome.verdict)


async def _run(options: argparse.Namespace, directory: Path) -> Outcome:
    if options.part:
        return await PARTS[options.part](directory, options.seed)
    profile = PROFILES[options.profile]
    if options.short:
        return await run_short(profile, directory / "run", options.seed)
    timing = Timing(options.blocks, options.phase_s, options.skip_s)
    return await run_profile(profile, timing, directory / "run", options.seed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    usual = Timing()
    parser = argparse.ArgumentParser(prog="loadtest.overload", description=(__doc__ or "").partition("\n")[0])
    profile, part = os.environ.get("PROFILE") or "p1", os.environ.get("PART") or None
    parser.add_argument("--profile", choices=PROFILES, default=profile, help="PROFILE in the environment; %(default)s")
    parser.add_argument("--part", choices=PARTS, default=part, help="PART in the environment; instead of a profile")
    parser.add_argument("--short", action="store_true", help="one block of short phases; judges only what is exact")
    parser.add_argument("--blocks", type=int, default=usual.blocks, help="%(default)s")
    parser.add_argument("--phase-s", type=float, default=usual.phase_s, help="length of a phase; %(default)s")
    parser.add_argument("--skip-s", type=float, default=usual.skip_s, help="of it, what does not count; %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="of all arrivals; %(default)s")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="%(default)s")
    options = parser.parse_args(arguments)
    for name, known in (("profile", PROFILES), ("part", PARTS)):
        value = getattr(options, name)
        if value is not None and value not in known:
            parser.error(f"{name.upper()}={value} is none of {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())

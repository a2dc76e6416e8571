"""What a run shows while it goes on, and what it writes down about its plan.

Owns the progress lines. Costs the generator a few milliseconds per phase.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.load_run import Rig
from benchmarks.overload_measuring import in_time, late, refused
from benchmarks.overload_plan import Phase, Profile
from floodgate.peak.statistics import percentile

SETTLE_S = 0.3
"""After a phase: its refusals are in by then. What still waits is not shown."""
PLAN = "plan.json"


async def report(built: Rig, phases: Sequence[Phase], deadline_s: float) -> None:
    """Print a line after each phase."""
    began_s = time.monotonic()
    for phase in phases:
        await built.until(phase.end_s + SETTLE_S)
        shown = [r for r in built.requests if r.phase == phase.index and r.kind == "load" and r.done_s == r.done_s]
        seconds = phase.end_s - phase.start_s
        block = "closing" if phase is phases[-1] else f"block {phase.block + 1}"
        good = [request.latency_s for request in shown if in_time(request, deadline_s)]
        print(
            f"{time.monotonic() - began_s:5.0f} s  {block:8} {phase.label:>4}: "
            f"{len(shown) / seconds:6.1f}/s ended, {len(good) / seconds:5.1f}/s in time, "
            f"{sum(map(refused, shown)) / seconds:6.1f}/s refused, {sum(late(r, deadline_s) for r in shown)} late, "
            f"p99 {percentile(good, 0.99) * 1000:.0f} ms",
            flush=True,
        )


def keep_plan(directory: Path, profile: Profile, phases: Sequence[Phase], built: Rig) -> None:
    """Write what the drawings need to know: when which phase was, and the deadline."""
    told = {
        "profile": profile.name,
        "deadline_s": profile.deadline_s,
        "per_s": profile.per_s,
        "start_s": built.start_s - built.origin_s,
        "phases": [asdict(phase) for phase in phases],
    }
    (directory / PLAN).write_text(json.dumps(told, indent=1))

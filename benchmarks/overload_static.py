"""What the simulated database can do without the queue: at its best with a fixed number of callers, and with none.

Owns the two comparisons of profile P3, made in the same run on the same system.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time

from benchmarks.arrivals import Request, Stream
from benchmarks.load_run import Rig
from benchmarks.overload_judging import Line
from benchmarks.overload_measuring import in_time
from benchmarks.overload_plan import Profile
from floodgate.peak.statistics import share

CALLERS = (6, 8, 10)
"""Static limits to try."""
STATIC_S = 10.0
BARE_S = 20.0
SKIP_S = 4.0
BARE_FACTOR = 2.0


async def best_static(built: Rig) -> float:
    """Return the most answers per second that a fixed number of callers gets from `/direct`."""
    best = 0.0
    for callers in CALLERS:
        answered = await _closed_loop(built, callers)
        print(f"static limit {callers:2}: {answered / STATIC_S:.1f}/s", flush=True)
        best = max(best, answered / STATIC_S)
    return best


async def bare_line(built: Rig, profile: Profile, static_per_s: float) -> Line:
    """Return what is left of the goodput when everybody asks the database at once."""
    load = await built.load([Stream("bare", "/direct", profile.per_s * BARE_FACTOR, 0, BARE_S)])
    good = sum(in_time(r, profile.deadline_s) and r.intended_s >= built.start_s + SKIP_S for r in load)
    per_s = good / (BARE_S - SKIP_S)
    return Line(f"goodput without a queue at {BARE_FACTOR:g}×", (share(per_s, static_per_s),), at_most=0.05)


async def _closed_loop(built: Rig, callers: int) -> int:
    numbers = itertools.count(len(built.requests))
    end_s = time.monotonic() + STATIC_S

    async def call() -> int:
        answered = 0
        while time.monotonic() < end_s:
            request = Request(next(numbers), math.nan, "/direct", "static")
            built.requests.append(await built.generator.ask(request))
            answered += request.status == 200
        return answered

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(call()) for _ in range(callers)]
    return sum(call.result() for call in calls)

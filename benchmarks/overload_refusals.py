"""The part about what a refusal costs: gateway processor time against a no-op route, and calls to Redis.

Owns the arithmetic. Two windows with the same number of admitted requests, at 1.3 and
at ten times the capacity: what the second costs more is what its refusals cost. Other
ways charge admissions at a price that they do not have in a flood, where they share calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.arrivals import Stream
from benchmarks.load_run import Rig, rig
from benchmarks.overload_judging import Line, Outcome
from benchmarks.overload_measuring import refused
from benchmarks.overload_plan import PATIENCE_S, PLACES, PROFILES, SAT
from benchmarks.overload_system import Setup
from floodgate.peak.statistics import share

GATE = PROFILES["p1"]
WARM_S = 3.0
WINDOW_S = 10.0
ROUNDS = 3
FLOOD = 10.0
NOOP = "/noop"
PATHS = (NOOP, "/rated", "/gate", "/asked")


@dataclass(frozen=True, slots=True)
class Window:
    """One load, and what it cost; `asked` are refusals that were asked of Redis."""

    cpu_s: float
    sent: int
    refused: int
    asked: int = 0


async def refusals(directory: Path, seed: int) -> Outcome:
    """Measure refusals from memory and asked ones at ten times the capacity, with two gateway processes."""
    setup = Setup("benchmarks.handlers.refusals", PLACES, gateway_processes=2)
    ratios: dict[str, list[float]] = {path: [] for path in PATHS}
    calls: list[float] = []
    async with rig(setup, directory / "run", seed, GATE.deadline_s + PATIENCE_S) as built:
        for path in PATHS:
            await _window(built, path, FLOOD, WARM_S)
        for number in range(ROUNDS):
            each_s = {}
            for path in PATHS:
                few, many = await _window(built, path, SAT), await _window(built, path, FLOOD)
                each_s[path] = cost_s(few, many)
                ratios[path].append(each_s[path] / each_s[NOOP])
                if path == "/gate":
                    calls.append(share(many.asked, many.refused))
            told = ", ".join(f"{path} {seconds * 1e6:.0f} µs" for path, seconds in each_s.items())
            print(f"round {number + 1}: {told}", flush=True)
        lines = [
            # Each asked one counts as a call of its own, although those that come together share one.
            Line("Redis calls per refusal at 10×", tuple(calls), at_most=0.1),
            Line("processor time of a refusal by the bucket ÷ no-op", tuple(ratios["/rated"]), at_most=1.2),
            Line("the same, remembered", tuple(ratios["/gate"]), at_most=1.2),
            Line("the same, asked", tuple(ratios["/asked"]), at_most=1.6),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("refusals").complaints())


def cost_s(few: Window, many: Window) -> float:
    """Return the processor time of one more refusal, or of one more request where none is refused."""
    more = many.refused - few.refused or many.sent - few.sent
    return share(many.cpu_s - few.cpu_s, more)


async def _window(built: Rig, path: str, factor: float, seconds: float = WINDOW_S) -> Window:
    system = built.system
    cpu_s, asked = system.gateway.cpu_s(), system.refusals_asked()
    load = await built.load([Stream("load", path, factor * GATE.per_s, 0, seconds)])
    cpu_s = system.gateway.cpu_s() - cpu_s
    return Window(cpu_s, len(load), sum(map(refused, load)), system.refusals_asked() - asked)

"""The part about what a refusal costs: gateway processor time against a no-op route, and calls to Redis.

Owns the arithmetic. A window's processor time less what it would have been idle,
less what its admitted requests cost elsewhere, is that of its refusals.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from loadtest.arrivals import Stream
from loadtest.overload_judging import Line, Outcome
from loadtest.overload_measuring import refused, share
from loadtest.overload_plan import PATIENCE_S, PLACES, PROFILES
from loadtest.overload_rig import Rig, rig
from loadtest.overload_system import Setup

GATE = PROFILES["p1"]
WINDOW_S = 20.0
ROUNDS = 3
FLOOD = 10 * GATE.per_s
BELOW = 0.9 * GATE.per_s


@dataclass(frozen=True, slots=True)
class Window:
    """One load, and what it cost."""

    cpu_s: float
    scripts: int
    refused: int
    admitted: int


async def refusals(directory: Path, seed: int) -> Outcome:
    """Measure refusals from memory and asked ones at ten times the capacity, with two gateway processes."""
    setup = Setup("loadtest.overload_handlers.refusals", PLACES, gateway_processes=2)
    memory, remembered, asked, calls = [], [], [], []
    async with rig(setup, directory / "run", seed, GATE.deadline_s + PATIENCE_S) as built:
        await _window(built, "/noop", FLOOD, 2.0)
        for number in range(ROUNDS):
            idle_s = await _idle(built)
            noop = await _window(built, "/noop", FLOOD)
            quiet = await _window(built, "/gate", BELOW)
            each_s = share(noop.cpu_s - idle_s, noop.admitted)
            admission_s = share(quiet.cpu_s - idle_s, quiet.admitted)
            ratios = []
            for path in ("/rated", "/gate", "/asked"):
                flood = await _window(built, path, FLOOD)
                cost_s = share(flood.cpu_s - idle_s - flood.admitted * admission_s, flood.refused)
                ratios.append(share(cost_s, each_s))
                if path == "/gate":
                    calls.append(calls_per_refusal(flood, quiet))
            memory.append(ratios[0])
            remembered.append(ratios[1])
            asked.append(ratios[2])
            print(f"round {number + 1}: a no-op costs {each_s * 1e6:.0f} µs, refusals {ratios} of it", flush=True)
        lines = [
            Line("Redis calls per refusal at 10×", tuple(calls), at_most=0.1),
            Line("processor time of a refusal by the bucket ÷ no-op", tuple(memory), at_most=1.2),
            Line("the same, remembered", tuple(remembered), at_most=1.2),
            Line("the same, asked", tuple(asked), at_most=1.6),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("refusals").complaints())


def calls_per_refusal(flood: Window, quiet: Window) -> float:
    """Return the script calls of a flood beyond those of its admitted requests, per refusal."""
    per_admitted = share(quiet.scripts, quiet.admitted)
    return max(0.0, share(flood.scripts - per_admitted * flood.admitted, flood.refused))


async def _idle(built: Rig) -> float:
    """Return the gateway's processor time of a window without any request."""
    before_s = built.system.gateway.cpu_s()
    await asyncio.sleep(WINDOW_S / 2)
    return (built.system.gateway.cpu_s() - before_s) * 2


async def _window(built: Rig, path: str, per_s: float, seconds: float = WINDOW_S) -> Window:
    system = built.system
    cpu_s, scripts = system.gateway.cpu_s(), system.scripts_called()
    load = await built.load([Stream("load", path, per_s, 0, seconds)])
    turned_away = sum(map(refused, load))
    return Window(
        system.gateway.cpu_s() - cpu_s, system.scripts_called() - scripts, turned_away, len(load) - turned_away
    )

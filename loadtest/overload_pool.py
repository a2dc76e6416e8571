"""The part about a pool that two routes share, whose run times are two orders of magnitude apart.

Owns its loads and goals: twenty places; 20 ms beside 7 s, and 70 ms where one route floods them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadtest.arrivals import Request, Stream
from loadtest.overload_handlers.pool import FLOODED_S, LONG_S
from loadtest.overload_judging import Line, Outcome
from loadtest.overload_measuring import admitted, in_time, late, share
from loadtest.overload_plan import PATIENCE_S
from loadtest.overload_rig import Rig, rig
from loadtest.overload_system import Setup

PLACES = 20
SHORT_DEADLINE_S, LONG_DEADLINE_S = 2.0, 30.0
SHORT_PER_S, LONG_PER_S = PLACES / FLOODED_S, PLACES / LONG_S
BURST, AFTER_PER_S, AFTER_S = 100, 20.0, 10.0
FULL_S = 0.5
"""From filling the places to the burst."""
FLOOD_S = 20.0
MOST_LATE = 0.02


async def pool(directory: Path, seed: int) -> Outcome:
    """Put short requests on places that long ones hold; then flood it with the one beside the other, in turn."""
    setup = Setup(
        "loadtest.overload_handlers.pool", {"FLOODGATE_WORKER_CONCURRENCY": str(PLACES), "FLOODGATE_DRAIN_S": "35"}
    )
    async with rig(setup, directory / "run", seed, LONG_DEADLINE_S + PATIENCE_S) as built:
        await _know(built)
        long = [Request(len(built.requests) + number, 0.0, "/long", "long") for number in range(PLACES)]
        moments = [FULL_S] * BURST + [FULL_S + n / AFTER_PER_S for n in range(round(AFTER_S * AFTER_PER_S))]
        first = len(built.requests) + PLACES
        burst = [Request(first + number, at_s, "/short", "short") for number, at_s in enumerate(moments)]
        load = await built.send([*long, *burst])
        lines = _late("long ones everywhere, then a burst", load)
        # the long route at half of its share, which is half of the places: alone, and beside a flood of short ones
        alone = await built.load([Stream("long", "/long", LONG_PER_S / 4, 0, FLOOD_S)])
        beside = await built.load(
            [
                Stream("long", "/long", LONG_PER_S / 4, 0, FLOOD_S),
                Stream("short", "/flooded", 2 * SHORT_PER_S, 0, FLOOD_S),
            ]
        )
        lines += _late("a flood of short ones", beside)
        kept = share(_good(beside, "long", LONG_DEADLINE_S), _good(alone, "long", LONG_DEADLINE_S))
        lines.append(Line("a flood of short ones: the long ones' goodput ÷ alone", (kept,), at_least=0.95))
        load = await built.load(
            [
                Stream("long", "/long", 2 * LONG_PER_S, 0, FLOOD_S),
                Stream("short", "/flooded", SHORT_PER_S / 4, FLOOD_S / 2, FLOOD_S / 2),
            ]
        )
        lines += _late("a flood of long ones", load)
        return Outcome([*lines, *built.exact_lines()], built.soundness("pool").complaints())


async def _know(built: Rig) -> None:
    """Let it learn how long both take."""
    await built.send([Request(n, 0.0, path, "first") for n, path in enumerate(("/long", "/short", "/flooded"))])


def _late(what: str, load: Sequence[Request]) -> list[Line]:
    lines = []
    for kind, deadline_s in (("short", SHORT_DEADLINE_S), ("long", LONG_DEADLINE_S)):
        let_in = [request for request in load if request.kind == kind and admitted(request)]
        missed = share(sum(late(request, deadline_s) for request in let_in), len(let_in))
        lines.append(Line(f"{what}: {kind} ones late, of the admitted", (missed,), at_most=MOST_LATE))
        lines.append(Line(f"{what}: {kind} ones admitted", (float(len(let_in)),)))
    return lines


def _good(load: Sequence[Request], kind: str, deadline_s: float) -> int:
    return sum(request.kind == kind and in_time(request, deadline_s) for request in load)

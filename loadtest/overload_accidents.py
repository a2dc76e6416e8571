"""Parts about what goes wrong: workers that freeze or die, clients that leave, a flood before anything is known.

Owns their loads and goals. Rates are of profile P1: 16 places, 0.2 s each, 80/s.
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import Sequence
from pathlib import Path

from loadtest import overload_notes
from loadtest.arrivals import Request, Stream
from loadtest.overload_judging import Line, Outcome
from loadtest.overload_measuring import admitted, in_time, late, share
from loadtest.overload_notes import Run
from loadtest.overload_plan import PATIENCE_S, PLACES, PROFILES
from loadtest.overload_rig import Rig, rig
from loadtest.overload_system import Setup

GATE = PROFILES["p1"]
PATIENCE = GATE.deadline_s + PATIENCE_S
COLD_TIMES = 3
COLD_S = 20.0
LEAVERS_S = 60.0
LEAVING = 0.3
LONG_PER_S = 2.0
LONG_LEAVES_S = 0.5
GONE_S = 0.25
"""A handler may start for a client that left so recently: word of it takes a moment."""
STOPPED_S = 1.5
FREEZE_AT_S, FROZEN_S, AFTER_S = 20.0, 10.0, 30.0
LATER_S = 15.0
DEATH_AT_S, DYING_S = 20.0, 60.0
LEASE_S = 5.0


async def cold(directory: Path, seed: int) -> Outcome:
    """Offer ten times the capacity to a system that has never seen a request."""
    lates, complaints, exact = [], [], []
    for number in range(COLD_TIMES):
        async with rig(Setup(GATE.handlers, PLACES), directory / f"run-{number}", seed + number, PATIENCE) as built:
            load = await built.load([Stream("load", "/gate", 10 * GATE.per_s, 0, COLD_S)])
            lates.append(float(sum(late(request, GATE.deadline_s) for request in load)))
            good = share(sum(in_time(request, GATE.deadline_s) for request in load), COLD_S)
            print(f"cold start {number + 1}: {lates[-1]:.0f} late, {good:.1f}/s in time", flush=True)
            complaints += built.soundness(f"cold start {number + 1}").complaints()
            exact += built.exact_lines() if number == COLD_TIMES - 1 else []
    return Outcome([Line("10× from a cold start: late", tuple(lates), at_most=0, exact=True), *exact], complaints)


async def leavers(directory: Path, seed: int) -> Outcome:
    """Let 30 % of the clients leave at a random moment within half the deadline, at twice the capacity."""
    setup = Setup("loadtest.overload_handlers.leavers", PLACES)
    async with rig(setup, directory / "run", seed, PATIENCE) as built:
        leaving = {"leaving": LEAVING, "leave_within_s": GATE.deadline_s / 2}
        load = await built.load(
            [
                Stream("load", "/gate", 2 * GATE.per_s, 0, LEAVERS_S, **leaving),  # type: ignore[arg-type]
                Stream("long", "/long", LONG_PER_S, 0, LEAVERS_S, leaving=1.0, leave_within_s=LONG_LEAVES_S),
            ]
        )
        await asyncio.sleep(STOPPED_S + PATIENCE_S)
        lines = leaver_lines(load, overload_notes.read(built.system.notes))
        stayed = [request for request in load if request.kind == "load" and admitted(request)]
        lines.append(Line("late, of those who stayed", (share(_late(stayed), len(stayed)),), at_most=0.001))
        return Outcome([*lines, *built.exact_lines()], built.soundness("leavers").complaints())


def leaver_lines(load: Sequence[Request], runs: Sequence[Run]) -> list[Line]:
    """Return how much was worked for clients that had left."""
    gone_s = {request.id: request.done_s for request in load if request.left}
    ended = [run for run in runs if not math.isnan(run.ended_s)]
    wasted_s = sum(run.busy_s for run in ended if run.started_s > gone_s.get(run.request_id, math.inf) + GONE_S)
    stubborn = sum(
        math.isnan(run.ended_s) or run.ended_s > gone_s[run.request_id] + STOPPED_S
        for run in runs
        if run.request_id in gone_s
    )
    return [
        Line("clients that left", (share(len(gone_s), len(load)),)),
        Line(
            "busy time of handlers started for a client gone for 250 ms",
            (share(wasted_s, sum(run.busy_s for run in ended)),),
            at_most=0.01,
        ),
        Line("handlers still running 1.5 s after their client left", (float(stubborn),), at_most=0, exact=True),
    ]


async def freeze(directory: Path, seed: int) -> Outcome:
    """Freeze the workers for 10 s at 0.9×, with clients that time out and retry once."""
    chance = random.Random(seed)
    async with rig(Setup(GATE.handlers, PLACES), directory / "run", seed, GATE.deadline_s) as built:
        last: dict[int, Request] = {}

        async def client(request: Request) -> None:
            last[request.number] = await built.ask_patiently(request, 1, chance)

        async def accident() -> None:
            await built.until(FREEZE_AT_S)
            _signal_workers(built, signal.SIGSTOP)
            print("workers frozen", flush=True)
            await built.until(FREEZE_AT_S + FROZEN_S)
            _signal_workers(built, signal.SIGCONT)
            print("workers go on", flush=True)

        seconds = FREEZE_AT_S + FROZEN_S + AFTER_S
        stream = Stream("load", "/gate", 0.9 * GATE.per_s, 0, seconds)
        load = await built.load([stream], client=client, beside=accident)
        lines = []
        for what, from_s in (("its begin", FREEZE_AT_S), ("its end", FREEZE_AT_S + FROZEN_S)):
            later = [request for request in load if request.at_s >= from_s + LATER_S]
            answered = share(sum(last[request.number].status == 200 for request in later), len(later))
            lines.append(Line(f"answered, of those arriving 15 s after {what}", (answered,), at_least=0.99))
        lines.append(Line("attempts ÷ requests", (share(len(built.requests), len(load)),)))
        return Outcome([*lines, *built.exact_lines()], built.soundness("freeze").complaints())


async def deaths(directory: Path, seed: int) -> Outcome:
    """Kill one of two workers at twice the capacity."""
    setup = Setup(GATE.handlers, {"FLOODGATE_WORKER_CONCURRENCY": "8", "FLOODGATE_LEASE_S": f"{LEASE_S:g}"}, workers=2)
    async with rig(setup, directory / "run", seed, PATIENCE) as built:

        async def accident() -> None:
            await built.until(DEATH_AT_S)
            built.system.workers[0].signal(signal.SIGKILL)
            print("one of two workers killed", flush=True)

        load = await built.load([Stream("load", "/gate", 2 * GATE.per_s, 0, DYING_S)], beside=accident)
        after_s = DEATH_AT_S + LEASE_S
        before = [request for request in load if request.at_s < DEATH_AT_S - GATE.deadline_s]
        during = [request for request in load if DEATH_AT_S - GATE.deadline_s <= request.at_s < after_s]
        after = [request for request in load if request.at_s >= after_s]
        seconds = DYING_S - after_s
        good = sum(in_time(request, GATE.deadline_s) for request in after)
        lines = [
            Line("late after the lease", (float(_late(after)),), at_most=0, exact=True),
            Line("late before the death", (float(_late(before)),)),
            Line("late around the death", (float(_late(during)),)),
            Line("goodput after the lease ÷ half the capacity", (good / seconds / (GATE.per_s / 2),)),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("deaths").complaints())


def _late(requests: Sequence[Request]) -> int:
    return sum(late(request, GATE.deadline_s) for request in requests)


def _signal_workers(built: Rig, sig: int) -> None:
    for worker in built.system.workers:
        worker.signal(sig)

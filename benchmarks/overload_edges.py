"""Parts about the edges of overload: below it, a burst, the way back, retries, and what a refusal costs.

Owns their loads and goals. Rates are of profile P1 (80/s), once of P2.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arrivals import Request, Stream
from benchmarks.load_run import rig
from benchmarks.overload_judging import Line, Outcome
from benchmarks.overload_measuring import late, refused
from benchmarks.overload_plan import PATIENCE_S, PLACES, PROFILES, Profile
from benchmarks.overload_system import Setup
from floodgate.peak.statistics import percentile, share

GATE, LOGNORMAL = PROFILES["p1"], PROFILES["p2"]
PATIENCE = GATE.deadline_s + PATIENCE_S
BELOW_S, LOGNORMAL_S = 60.0, 120.0
BOUND = 64
"""What P1's deadline leaves room for: 16 running, and (2 s - 0.2 s) / 3 at 80/s waiting."""
BURSTS = 10
QUIET_S = 5.0
UNLOADED_S, PEAK_S, AFTER_S = 20.0, 10.0, 10.0
PEAKS = 5
WINDOW_S, STEP_S = 0.5, 0.1
RETRY_BEFORE_S, RETRY_PEAK_S, RETRY_AFTER_S = 10.0, 4.0, 30.0
RETRIES = 3


async def below(directory: Path, seed: int) -> Outcome:
    """Stay below the capacity: nobody is refused."""
    lines: list[Line] = []
    complaints: list[str] = []
    for profile, seconds, goals in (
        (GATE, BELOW_S, {0.7: 0.0, 0.8: 0.0, 0.9: 0.0}),
        (LOGNORMAL, LOGNORMAL_S, {0.8: 0.0005}),
    ):
        async with rig(_setup(profile), directory / profile.name, seed, profile.deadline_s + PATIENCE_S) as built:
            for factor, most in goals.items():
                load = await built.load([Stream("load", "/gate", factor * profile.per_s, 0, seconds)])
                name = f"{profile.name} at {factor:g}×"
                lines.append(Line(f"{name}: refused", (share(sum(map(refused, load)), len(load)),), at_most=most))
                lines.append(Line(f"{name}: late", (float(sum(late(r, profile.deadline_s) for r in load)),)))
            lines += built.exact_lines()
            complaints += built.soundness(profile.name).complaints()
    return Outcome(lines, complaints)


async def burst(directory: Path, seed: int) -> Outcome:
    """Send half the bound at once after a quiet spell; then peaks of ten times the capacity, and watch the way back."""
    async with rig(_setup(GATE), directory / "run", seed, PATIENCE) as built:
        bursts = [
            Request(len(built.requests) + number, QUIET_S * (1 + number // (BOUND // 2)), "/gate")
            for number in range(BURSTS * BOUND // 2)
        ]
        sent = await built.send(bursts)
        per_s = 0.5 * GATE.per_s
        unloaded = await built.load([Stream("load", "/gate", per_s, 0, UNLOADED_S)])
        unloaded_s = percentile((request.latency_s for request in unloaded), 0.99)
        back: list[float] = []
        for number in range(PEAKS):
            load = await built.load(
                [
                    Stream("load", "/gate", 10 * GATE.per_s, 0, PEAK_S, number),
                    Stream("after", "/gate", per_s, PEAK_S, AFTER_S, number),
                ]
            )
            after = [request for request in load if request.kind == "after"]
            back.append(back_to_normal_s(after, PEAK_S, AFTER_S, 1.5 * unloaded_s))
            print(f"peak {number + 1}: back to normal after {back[-1]:.1f} s", flush=True)
        lines = [
            Line(
                "a burst of half the bound after a quiet spell: refused", (float(sum(map(refused, sent))),), at_most=0
            ),
            Line("the same: late", (float(sum(late(r, GATE.deadline_s) for r in sent)),)),
            Line("back to normal after a peak", tuple(back), at_most=1.5, unit="s"),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("burst").complaints())


def back_to_normal_s(after: Sequence[Request], end_s: float, seconds: float, most_s: float) -> float:
    """Return when the system was back: the end of the last window of half a second that was not normal.

    `after` are the requests since the peak ended, at `end_s` of their load.
    Normal: p99 at most `most_s`, nothing refused.
    """
    bad_until_s = 0.0
    for step in range(round((seconds - WINDOW_S) / STEP_S) + 1):
        from_s = step * STEP_S
        window = [request for request in after if from_s <= request.at_s - end_s < from_s + WINDOW_S]
        slow = percentile((request.latency_s for request in window), 0.99) > most_s
        if slow or any(map(refused, window)):
            bad_until_s = from_s + STEP_S  # the rest of this window is in the next one
    return bad_until_s


async def retry(directory: Path, seed: int) -> Outcome:
    """Let every client honour `Retry-After`, with three retries, through a peak of ten times the capacity."""
    chance = random.Random(seed)
    async with rig(_setup(GATE), directory / "run", seed, PATIENCE) as built:
        last: dict[int, Request] = {}

        async def client(request: Request) -> None:
            last[request.number] = await built.ask_patiently(request, RETRIES, chance)

        load = await built.load(
            [
                Stream("before", "/gate", 0.5 * GATE.per_s, 0, RETRY_BEFORE_S),
                Stream("peak", "/gate", 10 * GATE.per_s, RETRY_BEFORE_S, RETRY_PEAK_S),
                Stream("after", "/gate", 0.5 * GATE.per_s, RETRY_BEFORE_S + RETRY_PEAK_S, RETRY_AFTER_S),
            ],
            client=client,
        )
        lines = []
        for kind in ("peak", "after"):
            asked = [request for request in load if request.kind == kind]
            answered = share(sum(last[request.number].status == 200 for request in asked), len(asked))
            goal = 0.95 if kind == "peak" else None
            lines.append(Line(f"answered in the end, of those who came {_WHEN[kind]}", (answered,), at_least=goal))
        longest_s = max(last[request.number].done_s - request.intended_s for request in load)
        lines.append(Line("attempts ÷ requests", (share(len(built.requests), len(load)),)))
        lines.append(Line("longest until the end", (longest_s,), unit="s"))
        return Outcome([*lines, *built.exact_lines()], built.soundness("retry").complaints())


_WHEN = {"peak": "in the peak", "after": "after it"}


def _setup(profile: Profile) -> Setup:
    return Setup(profile.handlers, PLACES)

"""Parts about the edges of overload: below it, a burst, the way back, retries, and what a refusal costs.

Owns their loads and goals. Rates are of profile P1 (80/s), once of P2. A refusal costs what a window at ten times
the capacity costs more than one at 1.3 times, in which as many are admitted: other ways charge admissions at a price
that they do not have in a flood, where they share calls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.arrivals import Request, Stream
from benchmarks.load_run import LoadRun, load_run
from benchmarks.overload_plan import PATIENCE_S, PROFILES, SAT
from benchmarks.statistics import Metric, Outcome, late, refused
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
WARM_S = 3.0
COST_WINDOW_S = 10.0
ROUNDS = 3
FLOOD = 10.0
NOOP = "/noop"
PATHS = (NOOP, "/rated", "/gate", "/asked")


async def below(directory: Path, seed: int) -> Outcome:
    """Stays below the capacity: nobody is refused."""
    metrics: list[Metric] = []
    complaints: list[str] = []
    for profile, seconds, goals in (
        (GATE, BELOW_S, {0.7: 0.0, 0.8: 0.0, 0.9: 0.0}),
        (LOGNORMAL, LOGNORMAL_S, {0.8: 0.0005}),
    ):
        async with load_run(profile.setup, directory / profile.name, seed, profile.deadline_s + PATIENCE_S) as run:
            for factor, most in goals.items():
                load = await run.load([Stream("load", "/gate", factor * profile.per_s, 0, seconds)])
                name = f"{profile.name} at {factor:g}×"
                metrics.append(Metric(f"{name}: refused", (share(sum(map(refused, load)), len(load)),), at_most=most))
                metrics.append(Metric(f"{name}: late", (float(sum(late(r, profile.deadline_s) for r in load)),)))
            metrics += run.exact_metrics()
            complaints += run.soundness(profile.name).complaints()
    return Outcome(metrics, complaints)


async def burst(directory: Path, seed: int) -> Outcome:
    """Sends half the bound at once after a quiet spell; then peaks of ten times the capacity, and the way back."""
    async with load_run(GATE.setup, directory / "run", seed, PATIENCE) as run:
        bursts = [
            Request(len(run.requests) + number, QUIET_S * (1 + number // (BOUND // 2)), "/gate")
            for number in range(BURSTS * BOUND // 2)
        ]
        sent = await run.send(bursts)
        per_s = 0.5 * GATE.per_s
        unloaded = await run.load([Stream("load", "/gate", per_s, 0, UNLOADED_S)])
        unloaded_s = percentile((request.latency_s for request in unloaded), 0.99)
        back: list[float] = []
        for number in range(PEAKS):
            load = await run.load(
                [
                    Stream("load", "/gate", 10 * GATE.per_s, 0, PEAK_S, number),
                    Stream("after", "/gate", per_s, PEAK_S, AFTER_S, number),
                ]
            )
            after = [request for request in load if request.kind == "after"]
            back.append(back_to_normal_s(after, PEAK_S, AFTER_S, 1.5 * unloaded_s))
            print(f"peak {number + 1}: back to normal after {back[-1]:.1f} s", flush=True)
        metrics = [
            Metric(
                "a burst of half the bound after a quiet spell: refused", (float(sum(map(refused, sent))),), at_most=0
            ),
            Metric("the same: late", (float(sum(late(r, GATE.deadline_s) for r in sent)),)),
            Metric("back to normal after a peak", tuple(back), at_most=1.5, unit="s"),
        ]
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("burst").complaints())


def back_to_normal_s(after: Sequence[Request], end_s: float, seconds: float, most_s: float) -> float:
    """Returns when the system was back: the end of the last window of half a second that was not normal.

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
    """Lets every client honour `Retry-After`, with three retries, through a peak of ten times the capacity."""
    chance = random.Random(seed)
    async with load_run(GATE.setup, directory / "run", seed, PATIENCE) as run:
        last: dict[int, Request] = {}

        async def client(request: Request) -> None:
            last[request.number] = await run.ask_patiently(request, RETRIES, chance)

        load = await run.load(
            [
                Stream("before", "/gate", 0.5 * GATE.per_s, 0, RETRY_BEFORE_S),
                Stream("peak", "/gate", 10 * GATE.per_s, RETRY_BEFORE_S, RETRY_PEAK_S),
                Stream("after", "/gate", 0.5 * GATE.per_s, RETRY_BEFORE_S + RETRY_PEAK_S, RETRY_AFTER_S),
            ],
            client=client,
        )
        metrics = []
        for kind in ("peak", "after"):
            asked = [request for request in load if request.kind == kind]
            answered = share(sum(last[request.number].status == 200 for request in asked), len(asked))
            goal = 0.95 if kind == "peak" else None
            metrics.append(Metric(f"answered in the end, of those who came {_WHEN[kind]}", (answered,), at_least=goal))
        longest_s = max(last[request.number].done_s - request.intended_s for request in load)
        metrics.append(Metric("attempts ÷ requests", (share(len(run.requests), len(load)),)))
        metrics.append(Metric("longest until the end", (longest_s,), unit="s"))
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("retry").complaints())


_WHEN = {"peak": "in the peak", "after": "after it"}


@dataclass(frozen=True, slots=True)
class Window:
    """One load, and what it cost; `asked` are refusals that were asked of Redis."""

    cpu_s: float
    sent: int
    refused: int
    asked: int = 0


async def refusals(directory: Path, seed: int) -> Outcome:
    """Measures refusals from memory and asked ones at ten times the capacity, with two gateway processes."""
    setup = replace(GATE.setup, gateway_processes=2)
    ratios: dict[str, list[float]] = {path: [] for path in PATHS}
    calls: list[float] = []
    async with load_run(setup, directory / "run", seed, GATE.deadline_s + PATIENCE_S) as run:
        for path in PATHS:
            await _window(run, path, FLOOD, WARM_S)
        for number in range(ROUNDS):
            each_s = {}
            for path in PATHS:
                few, many = await _window(run, path, SAT), await _window(run, path, FLOOD)
                each_s[path] = cost_s(few, many)
                ratios[path].append(each_s[path] / each_s[NOOP])
                if path == "/gate":
                    calls.append(share(many.asked, many.refused))
            text = ", ".join(f"{path} {seconds * 1e6:.0f} µs" for path, seconds in each_s.items())
            print(f"round {number + 1}: {text}", flush=True)
        metrics = [
            # Each asked one counts as a call of its own, although those that come together share one.
            Metric("Redis calls per refusal at 10×", tuple(calls), at_most=0.1),
            Metric("processor time of a refusal by the bucket ÷ no-op", tuple(ratios["/rated"]), at_most=1.2),
            Metric("the same, remembered", tuple(ratios["/gate"]), at_most=1.2),
            Metric("the same, asked", tuple(ratios["/asked"]), at_most=1.6),
        ]
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("refusals").complaints())


def cost_s(few: Window, many: Window) -> float:
    """Returns the processor time of one more refusal, or of one more request where none is refused."""
    more = many.refused - few.refused or many.sent - few.sent
    return share(many.cpu_s - few.cpu_s, more)


async def _window(run: LoadRun, path: str, factor: float, seconds: float = COST_WINDOW_S) -> Window:
    system = run.system
    cpu_s, asked = system.gateway.cpu_s(), system.refusals_asked()
    load = await run.load([Stream("load", path, factor * GATE.per_s, 0, seconds)])
    cpu_s = system.gateway.cpu_s() - cpu_s
    return Window(cpu_s, len(load), sum(map(refused, load)), system.refusals_asked() - asked)

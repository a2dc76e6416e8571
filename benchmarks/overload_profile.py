"""Runs one profile and judges it: its blocks of phases in one go, or one block of short phases, as CI does.

Owns which metrics a profile is judged by, what it shows meanwhile, and the two comparisons of profile P3: what the
simulated database can do with a fixed number of callers, and with none in between.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import sampler
from benchmarks.arrivals import Request, Stream
from benchmarks.load_run import LoadRun, load_run
from benchmarks.overload_plan import OVERLOADS, PATIENCE_S, PLAN, SAT, SHORT, Phase, Profile, Timing, plan, streams
from benchmarks.statistics import Metric, Outcome, PhaseMetrics, in_time, late, measure, none_of, refused, spread
from floodgate.peak.statistics import percentile, share

REFUSALS = ((0.5, 1.5), (0.99, 2.0))
"""Percentile of the refusals, and how many times that of the no-op route it may be."""
SETTLE_S = 0.3
"""After a phase: its refusals are in by then. What still waits is not shown."""
LONG_PATIENCE_S = 20.0
"""Nobody gives up: a request without an answer is a breach, not a slow machine."""
KNOWN = frozenset({200, 429, 503, 504})
"""What an overloaded system without an injected fault may answer."""
PATHS = ("/gate", "/tight")
CALLERS = (6, 8, 10)
"""Static limits to try."""
STATIC_S = 10.0
BARE_S = 20.0
SKIP_S = 4.0
BARE_FACTOR = 2.0


async def run_profile(profile: Profile, timing: Timing, directory: Path, seed: int) -> Outcome:
    """Runs the blocks of a profile and judges them."""
    phases = plan(timing)
    async with load_run(profile.setup, directory, seed, profile.deadline_s + PATIENCE_S) as run:
        static_per_s = await best_static(run) if profile.database else math.nan
        planned = streams(profile, phases, ("/gate",))
        load = await run.load(planned, beside=lambda: report(run, phases, profile.deadline_s))
        keep_plan(directory, profile, phases, run)
        found = measure(phases, load, profile.deadline_s, run.start_s)
        complaints = _complaints(run, profile, found)
        metrics = [*_goodput(profile, found, static_per_s), *_refusals(found), *_admitted(profile, found)]
        metrics += run.exact_metrics()
        if profile.database:
            metrics.append(await bare_line(run, profile, static_per_s))
        return Outcome(metrics, complaints)


def _goodput(profile: Profile, found: Sequence[PhaseMetrics], static_per_s: float) -> list[Metric]:
    """Compares with the saturating phases before and after; with the best static limit where there is one."""
    metrics = []
    what = "saturated" if math.isnan(static_per_s) else "best static limit"
    for factor in (*OVERLOADS, 0.5):
        values = []
        for at in _at(found, factor):
            beside = (found[at.phase.index - 1].goodput_per_s + found[at.phase.index + 1].goodput_per_s) / 2
            values.append(share(at.goodput_per_s, beside if math.isnan(static_per_s) else static_per_s))
        metrics.append(
            Metric(f"goodput at {factor:g}× ÷ {what}", tuple(values), at_least=profile.goals.goodput.get(factor))
        )
    saturated = tuple(each.goodput_per_s for each in _at(found, SAT))
    return [*metrics, Metric("goodput of all saturating phases, least", (min(saturated),), unit="1/s")]


def _refusals(found: Sequence[PhaseMetrics]) -> list[Metric]:
    metrics = []
    for factor in OVERLOADS:
        for share_of, most in REFUSALS:
            pairs = [(percentile(f.refusal_s, share_of), percentile(f.probe_s, share_of)) for f in _at(found, factor)]
            name = f"refusal p{share_of * 100:g} at {factor:g}×"
            metrics.append(Metric(f"{name} ÷ no-op route", tuple(share(*pair) for pair in pairs), at_most=most))
            metrics.append(Metric(name, tuple(refusal * 1000 for refusal, _ in pairs), unit="ms"))
    below = tuple(share(each.refused_per_s, each.offered_per_s) for each in _at(found, 0.5))
    return [*metrics, Metric("refused at 0.5×", below)]


def _admitted(profile: Profile, found: Sequence[PhaseMetrics]) -> list[Metric]:
    goals, blocks = profile.goals, _blocks(found)
    late = tuple(share(sum(f.late for f in block), sum(f.admitted for f in block)) for block in blocks)
    metrics = [Metric("admitted, but late or unanswered", late, at_most=goals.late)]
    for factor in OVERLOADS:
        p99 = tuple(f.p99_s / profile.deadline_s for f in _at(found, factor))
        metrics.append(Metric(f"p99 of the admitted at {factor:g}× ÷ deadline", p99, at_most=goals.p99))
    growth = []
    for block in blocks:
        p99s = [each.p99_s for factor in OVERLOADS for each in _at(block, factor)]
        growth.append(max(p99s) / p99s[0] - 1)
    return [*metrics, Metric("p99 of the admitted, growth over 2×", tuple(growth), at_most=goals.flat_p99)]


def _complaints(run: LoadRun, profile: Profile, found: Sequence[PhaseMetrics]) -> list[str]:
    """Returns why the run is invalid: how well each block was measured."""
    complaints = []
    for number, block in enumerate(_blocks(found), 1):
        start_s, end_s = run.start_s + block[0].phase.start_s, run.start_s + block[-1].phase.end_s
        sats = [each.goodput_per_s for each in _at(block, SAT)]
        sound = run.soundness(f"block {number}", start_s, end_s, spread(sats), profile.sat_spread)
        complaints += sound.complaints()
    return complaints


def _at(found: Sequence[PhaseMetrics], factor: float) -> list[PhaseMetrics]:
    """Returns the metrics of a factor, in the order of the blocks."""
    return [each for each in found if each.phase.factor == factor]


def _blocks(found: Sequence[PhaseMetrics]) -> list[list[PhaseMetrics]]:
    """Returns the metrics block by block, without the closing phase."""
    last = found[-1].phase.block
    return [[each for each in found if each.phase.block == block] for block in range(last)]


async def run_short(profile: Profile, directory: Path, seed: int) -> Outcome:
    """Runs one short block of a profile and judges its counts."""
    paths = PATHS if profile.name == "p1" else PATHS[:1]
    phases = plan(SHORT)
    async with load_run(profile.setup, directory, seed, LONG_PATIENCE_S) as run:
        planned = streams(profile, phases, paths)
        await run.load(planned, beside=lambda: report(run, phases, profile.deadline_s))
        leaked = run.exact_metrics()
        return Outcome([*_answers(run), *leaked, *_looks(run)], [])


def _answers(run: LoadRun) -> list[Metric]:
    found = run.breaches()
    counts = {
        "requests without an answer": found.unanswered,
        "answers that nobody asked for": found.answered_twice,
        "answers with a status that is none of 200, 429, 503, 504": sum(
            request.status not in KNOWN for request in run.requests
        ),
        "handlers that ran for a refused request": found.ran_refused,
        "answers of a handler that did not run exactly once": found.ran_not_once,
    }
    asked = Metric("requests", (float(len(run.requests)),))
    return [asked, *(none_of(name, count) for name, count in counts.items())]


def _looks(run: LoadRun) -> list[Metric]:
    samples = sampler.read(run.system.samples)
    fullest = max((sample.in_flight / sample.limit for sample in samples), default=0.0)
    return [
        Metric("looks into the queue", (float(len(samples)),), at_least=1, exact=True),
        Metric("most in flight ÷ max_concurrency, of the fuller route", (fullest,)),
    ]


async def report(run: LoadRun, phases: Sequence[Phase], deadline_s: float) -> None:
    """Prints a line after each phase."""
    began_s = time.monotonic()
    for phase in phases:
        await run.until(phase.end_s + SETTLE_S)
        shown = [r for r in run.requests if r.phase == phase.index and r.kind == "load" and r.done_s == r.done_s]
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


def keep_plan(directory: Path, profile: Profile, phases: Sequence[Phase], run: LoadRun) -> None:
    """Writes what the drawings need to know: when which phase was, and the deadline."""
    kept = {
        "profile": profile.name,
        "deadline_s": profile.deadline_s,
        "per_s": profile.per_s,
        "start_s": run.start_s - run.origin_s,
        "phases": [asdict(phase) for phase in phases],
    }
    (directory / PLAN).write_text(json.dumps(kept, indent=1))


async def best_static(run: LoadRun) -> float:
    """Returns the most answers per second that a fixed number of callers gets from `/direct`."""
    best = 0.0
    for callers in CALLERS:
        answered = await _closed_loop(run, callers)
        print(f"static limit {callers:2}: {answered / STATIC_S:.1f}/s", flush=True)
        best = max(best, answered / STATIC_S)
    return best


async def bare_line(run: LoadRun, profile: Profile, static_per_s: float) -> Metric:
    """Returns what is left of the goodput when everybody asks the database at once."""
    load = await run.load([Stream("bare", "/direct", profile.per_s * BARE_FACTOR, 0, BARE_S)])
    good = sum(in_time(r, profile.deadline_s) and r.intended_s >= run.start_s + SKIP_S for r in load)
    per_s = good / (BARE_S - SKIP_S)
    return Metric(f"goodput without a queue at {BARE_FACTOR:g}×", (share(per_s, static_per_s),), at_most=0.05)


async def _closed_loop(run: LoadRun, callers: int) -> int:
    numbers = itertools.count(len(run.requests))
    end_s = time.monotonic() + STATIC_S

    async def call() -> int:
        answered = 0
        while time.monotonic() < end_s:
            request = Request(next(numbers), math.nan, "/direct", "static")
            run.requests.append(await run.generator.ask(request))
            answered += request.status == 200
        return answered

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(call()) for _ in range(callers)]
    return sum(call.result() for call in calls)

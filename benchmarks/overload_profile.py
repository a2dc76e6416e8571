"""Runs one profile: its blocks of phases in one go, then a line for each of its goals.

Owns which figures a profile is judged by. Must not know how to start a system or
how to send a request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load_run import Rig, rig
from benchmarks.overload_judging import Line, Outcome, spread
from benchmarks.overload_measuring import Figures, measure
from benchmarks.overload_plan import OVERLOADS, PATIENCE_S, SAT, Profile, Timing, plan, streams
from benchmarks.overload_progress import keep_plan, report
from benchmarks.overload_static import bare_line, best_static
from benchmarks.overload_system import Setup
from floodgate.peak.statistics import percentile, share

REFUSALS = ((0.5, 1.5), (0.99, 2.0))
"""Percentile of the refusals, and how many times that of the no-op route it may be."""


async def run_profile(profile: Profile, timing: Timing, directory: Path, seed: int) -> Outcome:
    """Run the blocks of a profile and judge them."""
    setup = Setup(profile.handlers, profile.env, database=profile.database, workers_alone=profile.workers_alone)
    phases = plan(timing)
    async with rig(setup, directory, seed, profile.deadline_s + PATIENCE_S) as built:
        static_per_s = await best_static(built) if profile.database else math.nan
        planned = streams(profile, phases, ("/gate",))
        load = await built.load(planned, beside=lambda: report(built, phases, profile.deadline_s))
        keep_plan(directory, profile, phases, built)
        found = measure(phases, load, profile.deadline_s, built.start_s)
        complaints = _complaints(built, profile, found)
        lines = [*_goodput(profile, found, static_per_s), *_refusals(found), *_admitted(profile, found)]
        lines += built.exact_lines()
        if profile.database:
            lines.append(await bare_line(built, profile, static_per_s))
        return Outcome(lines, complaints)


def _goodput(profile: Profile, found: Sequence[Figures], static_per_s: float) -> list[Line]:
    """Compare with the saturating phases before and after; with the best static limit where there is one."""
    lines = []
    what = "saturated" if math.isnan(static_per_s) else "best static limit"
    for factor in (*OVERLOADS, 0.5):
        values = []
        for at in _at(found, factor):
            beside = (found[at.phase.index - 1].goodput_per_s + found[at.phase.index + 1].goodput_per_s) / 2
            values.append(share(at.goodput_per_s, beside if math.isnan(static_per_s) else static_per_s))
        lines.append(
            Line(f"goodput at {factor:g}× ÷ {what}", tuple(values), at_least=profile.goals.goodput.get(factor))
        )
    saturated = tuple(each.goodput_per_s for each in _at(found, SAT))
    return [*lines, Line("goodput of all saturating phases, least", (min(saturated),), unit="1/s")]


def _refusals(found: Sequence[Figures]) -> list[Line]:
    lines = []
    for factor in OVERLOADS:
        for share_of, most in REFUSALS:
            pairs = [(percentile(f.refusal_s, share_of), percentile(f.probe_s, share_of)) for f in _at(found, factor)]
            name = f"refusal p{share_of * 100:g} at {factor:g}×"
            lines.append(Line(f"{name} ÷ no-op route", tuple(share(*pair) for pair in pairs), at_most=most))
            lines.append(Line(name, tuple(refusal * 1000 for refusal, _ in pairs), unit="ms"))
    below = tuple(share(each.refused_per_s, each.offered_per_s) for each in _at(found, 0.5))
    return [*lines, Line("refused at 0.5×", below)]


def _admitted(profile: Profile, found: Sequence[Figures]) -> list[Line]:
    goals, blocks = profile.goals, _blocks(found)
    late = tuple(share(sum(f.late for f in block), sum(f.admitted for f in block)) for block in blocks)
    lines = [Line("admitted, but late or unanswered", late, at_most=goals.late)]
    for factor in OVERLOADS:
        p99 = tuple(f.p99_s / profile.deadline_s for f in _at(found, factor))
        lines.append(Line(f"p99 of the admitted at {factor:g}× ÷ deadline", p99, at_most=goals.p99))
    growth = []
    for block in blocks:
        p99s = [each.p99_s for factor in OVERLOADS for each in _at(block, factor)]
        growth.append(max(p99s) / p99s[0] - 1)
    return [*lines, Line("p99 of the admitted, growth over 2×", tuple(growth), at_most=goals.flat_p99)]


def _complaints(built: Rig, profile: Profile, found: Sequence[Figures]) -> list[str]:
    """Return why the run is invalid: how well each block was measured."""
    complaints = []
    for number, block in enumerate(_blocks(found), 1):
        start_s, end_s = built.start_s + block[0].phase.start_s, built.start_s + block[-1].phase.end_s
        sats = [each.goodput_per_s for each in _at(block, SAT)]
        sound = built.soundness(f"block {number}", start_s, end_s, spread(sats), profile.sat_spread)
        complaints += sound.complaints()
    return complaints


def _at(found: Sequence[Figures], factor: float) -> list[Figures]:
    """Return the figures of a factor, in the order of the blocks."""
    return [each for each in found if each.phase.factor == factor]


def _blocks(found: Sequence[Figures]) -> list[list[Figures]]:
    """Return the figures block by block, without the closing phase."""
    last = found[-1].phase.block
    return [[each for each in found if each.phase.block == block] for block in range(last)]

"""One block of short phases, for CI: judges only what is exact, whatever else the machine does meanwhile.

Owns which counts have to add up. Times and rates are shown, not judged.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import sampler
from benchmarks.load_run import Rig, rig
from benchmarks.overload_judging import Line, Outcome
from benchmarks.overload_plan import SHORT, Profile, plan, streams
from benchmarks.overload_progress import report
from benchmarks.overload_system import Setup

PATIENCE_S = 20.0
"""Nobody gives up: a request without an answer is a breach, not a slow machine."""
KNOWN = frozenset({200, 429, 503, 504})
"""What an overloaded system without an accident may answer."""
PATHS = ("/gate", "/tight")


async def run_short(profile: Profile, directory: Path, seed: int) -> Outcome:
    """Run one short block of a profile and judge its counts."""
    setup = Setup(profile.handlers, profile.env, database=profile.database, workers_alone=profile.workers_alone)
    paths = PATHS if profile.name == "p1" else PATHS[:1]
    phases = plan(SHORT)
    async with rig(setup, directory, seed, PATIENCE_S) as built:
        planned = streams(profile, phases, paths)
        await built.load(planned, beside=lambda: report(built, phases, profile.deadline_s))
        leaked = built.exact_lines()
        return Outcome([*_answers(built), *leaked, *_looks(built)], [])


def _answers(built: Rig) -> list[Line]:
    found = built.breaches()
    counts = {
        "requests without an answer": found.unanswered,
        "answers that nobody asked for": found.answered_twice,
        "answers with a status that is none of 200, 429, 503, 504": sum(
            request.status not in KNOWN for request in built.requests
        ),
        "handlers that ran for a refused request": found.ran_refused,
        "answers of a handler that did not run exactly once": found.ran_not_once,
    }
    asked = Line("requests", (float(len(built.requests)),))
    return [asked, *(Line(name, (float(count),), at_most=0, exact=True) for name, count in counts.items())]


def _looks(built: Rig) -> list[Line]:
    samples = sampler.read(built.system.samples)
    fullest = max((sample.in_flight / sample.limit for sample in samples), default=0.0)
    return [
        Line("looks into the queue", (float(len(samples)),), at_least=1, exact=True),
        Line("most in flight ÷ max_concurrency, of the fuller route", (fullest,)),
    ]

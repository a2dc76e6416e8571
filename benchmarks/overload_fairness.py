"""Parts about who is served: tenants, priorities, and a small route beside a flooded one.

Owns their loads and goals. Rates are of profile P1: 16 places, 0.2 s each in the mean, 80/s.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arrivals import Request, Stream
from benchmarks.load_run import rig
from benchmarks.overload_judging import Line, Outcome
from benchmarks.overload_measuring import in_time, jain, late, refused
from benchmarks.overload_plan import PATIENCE_S, PLACES, PROFILES, SAT
from benchmarks.overload_system import Setup
from floodgate.peak.statistics import percentile, share

GATE = PROFILES["p1"]
PATIENCE = GATE.deadline_s + PATIENCE_S
POLITE = tuple(f"polite-{number}" for number in range(9))
NOISY = "noisy"
TENANT_PER_S = GATE.per_s / (len(POLITE) + 1)
"""A tenant's share of the capacity."""
POLITE_OF_SHARE = 0.9
NOISY_OF_SHARE = 9.0
TENANTS_S = 60.0
SKIP_S = 4.0
ALONE_S = 60.0
NEIGHBOUR_S = 150.0
SAT_S = 24.0
UNLOADED_S = 30.0
CLASSES_S = 60.0


def setup(part: str) -> Setup:
    return Setup(f"benchmarks.handlers.{part}", PLACES)


async def tenants(directory: Path, seed: int) -> Outcome:
    """Put nine polite tenants beside one at nine times its share; then the same with fair order switched off."""
    async with rig(setup("tenants"), directory / "run", seed, PATIENCE) as built:
        lines = []
        for path, what, least, most in (("/fair", "in turn", 0.995, None), ("/mixed", "fair order off", None, 0.7)):
            load = await built.load(_tenants(path))
            polite = [request for request in load if request.kind != NOISY]
            good = sum(in_time(request, GATE.deadline_s) for request in polite)
            answered = share(good, len(polite))
            lines += [
                Line(f"{what}: polite requests", (float(len(polite)),), at_least=3000),
                Line(f"{what}: of them answered", (answered,), at_least=0.999 if least else None),
                Line(f"{what}: Jain's index", (fairness(load, built.start_s),), at_least=least, at_most=most),
            ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("tenants").complaints())


def fairness(load: Sequence[Request], start_s: float) -> float:
    """Return Jain's index of what each tenant got ÷ its max-min fair share of all that was answered."""
    counted = [request for request in load if request.intended_s >= start_s + SKIP_S]
    asked = Counter(request.kind for request in counted)
    got = Counter(request.kind for request in counted if in_time(request, GATE.deadline_s))
    fair = max_min(asked, sum(got.values()))
    return jain([share(got[tenant], fair[tenant]) for tenant in asked])


def max_min(asked: Counter[str], capacity: float) -> dict[str, float]:
    """Return the max-min fair shares: nobody gets more than it asked, and what is left is split equally."""
    shares: dict[str, float] = {}
    for place, (tenant, wants) in enumerate(sorted(asked.items(), key=lambda item: item[1])):
        shares[tenant] = min(wants, capacity / (len(asked) - place))
        capacity -= shares[tenant]
    return shares


def _tenants(path: str) -> list[Stream]:
    rates = dict.fromkeys(POLITE, POLITE_OF_SHARE * TENANT_PER_S) | {NOISY: NOISY_OF_SHARE * TENANT_PER_S}
    return [Stream(name, path, per_s, 0, TENANTS_S, 0, f"X-Tenant: {name}\r\n") for name, per_s in rates.items()]


async def priorities(directory: Path, seed: int) -> Outcome:
    """Put critical requests at half the capacity beside bulk ones at ten times of it."""
    critical = Stream("critical", "/classes", 0.5 * GATE.per_s, 0, UNLOADED_S, 0, "X-Class: critical\r\n")
    bulk = Stream("bulk", "/classes", SAT * GATE.per_s, 0, SAT_S, 0, "X-Class: bulk\r\n")
    async with rig(setup("priorities"), directory / "run", seed, PATIENCE) as built:
        alone = await built.load([critical])
        unloaded_s = percentile((request.latency_s for request in alone), 0.5)
        capacity = _per_s(await built.load([bulk]), built.start_s, SAT_S)
        load = await built.load(
            [
                Stream("critical", "/classes", critical.per_s, 0, CLASSES_S, 0, critical.headers),
                Stream("bulk", "/classes", 10 * GATE.per_s, 0, CLASSES_S, 0, bulk.headers),
            ]
        )
        first = [request for request in load if request.kind == "critical"]
        rest = capacity - _per_s(first, built.start_s, CLASSES_S)
        others = [request for request in load if request.kind == "bulk"]
        good = [request.latency_s for request in first if in_time(request, GATE.deadline_s)]
        rest_used = share(_per_s(others, built.start_s, CLASSES_S), rest)
        lines = [
            Line("critical: answered", (share(len(good), len(first)),), at_least=0.999),
            Line("critical: p50 ÷ unloaded", (share(percentile(good, 0.5), unloaded_s),), at_most=1.25),
            Line("bulk: its goodput ÷ the rest", (rest_used,), at_least=0.9),
            Line("admitted, but late", (float(sum(late(r, GATE.deadline_s) for r in load)),)),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("priorities").complaints())


async def neighbour(directory: Path, seed: int) -> Outcome:
    """Put a route at 0.3× beside one at 5× on the same workers."""
    small_per_s = 0.3 * GATE.per_s
    async with rig(setup("neighbour"), directory / "run", seed, PATIENCE) as built:
        alone = await built.load([Stream("small", "/small", small_per_s, 0, ALONE_S)])
        alone_s = percentile((request.latency_s for request in alone), 0.99)
        load = await built.load(
            [
                Stream("small", "/small", small_per_s, 0, NEIGHBOUR_S),
                Stream("large", "/large", 5 * GATE.per_s, 0, NEIGHBOUR_S),
            ]
        )
        small = [request for request in load if request.kind == "small"]
        large = [request for request in load if request.kind == "large"]
        p99_s = percentile((request.latency_s for request in small if not refused(request)), 0.99)
        lines = [
            Line("small: refused", (share(sum(map(refused, small)), len(small)),), at_most=0.001),
            Line("small: late", (float(sum(late(r, GATE.deadline_s) for r in small)),), at_most=0, exact=True),
            Line("small: p99 ÷ alone", (share(p99_s, alone_s),), at_most=1.5),
            Line("small: p99", (p99_s * 1000,), unit="ms"),
            Line("large: late", (float(sum(late(r, GATE.deadline_s) for r in large)),)),
            Line("large: goodput", (_per_s(large, built.start_s, NEIGHBOUR_S),), unit="1/s"),
        ]
        return Outcome([*lines, *built.exact_lines()], built.soundness("neighbour").complaints())


def _per_s(requests: Sequence[Request], start_s: float, seconds: float) -> float:
    """Return the answers in time per second, without the first seconds of a load."""
    first_s, last_s = start_s + SKIP_S, start_s + seconds
    good = sum(in_time(request, GATE.deadline_s) and first_s <= request.done_s < last_s for request in requests)
    return good / (seconds - SKIP_S) if seconds > SKIP_S else math.nan

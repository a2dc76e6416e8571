"""Parts about fairness: tenants, priorities, a small route beside a flooded one, and short runs beside long ones.

Owns their loads and goals. Rates are of profile P1: 16 at once, 0.2 s each in the mean, 80/s; the part `pool` has 20.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arrivals import Request, Stream
from benchmarks.handlers.pool import FLOODED_S, LONG_S
from benchmarks.load_run import LoadRun, load_run
from benchmarks.overload_plan import PATIENCE_S, PROFILES, SAT, setup
from benchmarks.statistics import Metric, Outcome, admitted, in_time, jain, late, refused
from benchmarks.testbed import CONCURRENCY, DRAIN_S
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
CONCURRENT = 20
SHORT_DEADLINE_S, LONG_DEADLINE_S = 2.0, 30.0
SHORT_PER_S, LONG_PER_S = CONCURRENT / FLOODED_S, CONCURRENT / LONG_S
BURST, AFTER_PER_S, AFTER_S = 100, 20.0, 10.0
FULL_S = 0.5
"""From the start of the long runs to the burst."""
FLOOD_S = 20.0
MOST_LATE = 0.02


async def tenants(directory: Path, seed: int) -> Outcome:
    """Puts nine polite tenants beside one at nine times its share; then the same with fair order switched off."""
    async with load_run(GATE.setup, directory / "run", seed, PATIENCE) as run:
        metrics = []
        for path, what, least, most in (("/fair", "in turn", 0.995, None), ("/mixed", "fair order off", None, 0.7)):
            load = await run.load(_tenants(path))
            polite = [request for request in load if request.kind != NOISY]
            good = sum(in_time(request, GATE.deadline_s) for request in polite)
            answered = share(good, len(polite))
            metrics += [
                Metric(f"{what}: polite requests", (float(len(polite)),), at_least=3000),
                Metric(f"{what}: of them answered", (answered,), at_least=0.999 if least else None),
                Metric(f"{what}: Jain's index", (fairness(load, run.start_s),), at_least=least, at_most=most),
            ]
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("tenants").complaints())


def fairness(load: Sequence[Request], start_s: float) -> float:
    """Returns Jain's index of what each tenant got ÷ its max-min fair share of all that was answered."""
    counted = [request for request in load if request.intended_s >= start_s + SKIP_S]
    asked = Counter(request.kind for request in counted)
    got = Counter(request.kind for request in counted if in_time(request, GATE.deadline_s))
    fair = max_min(asked, sum(got.values()))
    return jain([share(got[tenant], fair[tenant]) for tenant in asked])


def max_min(asked: Counter[str], capacity: float) -> dict[str, float]:
    """Returns the max-min fair shares: nobody gets more than it asked, and what is left is split equally."""
    shares: dict[str, float] = {}
    for place, (tenant, wants) in enumerate(sorted(asked.items(), key=lambda item: item[1])):
        shares[tenant] = min(wants, capacity / (len(asked) - place))
        capacity -= shares[tenant]
    return shares


def _tenants(path: str) -> list[Stream]:
    rates = dict.fromkeys(POLITE, POLITE_OF_SHARE * TENANT_PER_S) | {NOISY: NOISY_OF_SHARE * TENANT_PER_S}
    return [Stream(name, path, per_s, 0, TENANTS_S, 0, f"X-Tenant: {name}\r\n") for name, per_s in rates.items()]


async def priorities(directory: Path, seed: int) -> Outcome:
    """Puts critical requests at half the capacity beside bulk ones at ten times of it."""
    critical = Stream("critical", "/classes", 0.5 * GATE.per_s, 0, UNLOADED_S, 0, "X-Class: critical\r\n")
    bulk = Stream("bulk", "/classes", SAT * GATE.per_s, 0, SAT_S, 0, "X-Class: bulk\r\n")
    async with load_run(GATE.setup, directory / "run", seed, PATIENCE) as run:
        alone = await run.load([critical])
        unloaded_s = percentile((request.latency_s for request in alone), 0.5)
        capacity = _per_s(await run.load([bulk]), run.start_s, SAT_S)
        load = await run.load(
            [
                Stream("critical", "/classes", critical.per_s, 0, CLASSES_S, 0, critical.headers),
                Stream("bulk", "/classes", 10 * GATE.per_s, 0, CLASSES_S, 0, bulk.headers),
            ]
        )
        first = [request for request in load if request.kind == "critical"]
        rest = capacity - _per_s(first, run.start_s, CLASSES_S)
        others = [request for request in load if request.kind == "bulk"]
        good = [request.latency_s for request in first if in_time(request, GATE.deadline_s)]
        rest_used = share(_per_s(others, run.start_s, CLASSES_S), rest)
        metrics = [
            Metric("critical: answered", (share(len(good), len(first)),), at_least=0.999),
            Metric("critical: p50 ÷ unloaded", (share(percentile(good, 0.5), unloaded_s),), at_most=1.25),
            Metric("bulk: its goodput ÷ the rest", (rest_used,), at_least=0.9),
            Metric("admitted, but late", (float(sum(late(r, GATE.deadline_s) for r in load)),)),
        ]
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("priorities").complaints())


async def neighbour(directory: Path, seed: int) -> Outcome:
    """Puts a route at 0.3× beside one at 5× on the same workers."""
    small_per_s = 0.3 * GATE.per_s
    async with load_run(GATE.setup, directory / "run", seed, PATIENCE) as run:
        alone = await run.load([Stream("small", "/small", small_per_s, 0, ALONE_S)])
        alone_s = percentile((request.latency_s for request in alone), 0.99)
        load = await run.load(
            [
                Stream("small", "/small", small_per_s, 0, NEIGHBOUR_S),
                Stream("large", "/large", 5 * GATE.per_s, 0, NEIGHBOUR_S),
            ]
        )
        small = [request for request in load if request.kind == "small"]
        large = [request for request in load if request.kind == "large"]
        p99_s = percentile((request.latency_s for request in small if not refused(request)), 0.99)
        metrics = [
            Metric("small: refused", (share(sum(map(refused, small)), len(small)),), at_most=0.001),
            Metric("small: late", (float(sum(late(r, GATE.deadline_s) for r in small)),), at_most=0, exact=True),
            Metric("small: p99 ÷ alone", (share(p99_s, alone_s),), at_most=1.5),
            Metric("small: p99", (p99_s * 1000,), unit="ms"),
            Metric("large: late", (float(sum(late(r, GATE.deadline_s) for r in large)),)),
            Metric("large: goodput", (_per_s(large, run.start_s, NEIGHBOUR_S),), unit="1/s"),
        ]
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("neighbour").complaints())


def _per_s(requests: Sequence[Request], start_s: float, seconds: float) -> float:
    """Returns the answers in time per second, without the first seconds of a load."""
    first_s, last_s = start_s + SKIP_S, start_s + seconds
    good = sum(in_time(request, GATE.deadline_s) and first_s <= request.done_s < last_s for request in requests)
    return good / (seconds - SKIP_S) if seconds > SKIP_S else math.nan


async def pool(directory: Path, seed: int) -> Outcome:
    """Sends short requests while long ones run everywhere; then floods the workers with either beside the other."""
    system = setup("pool", {CONCURRENCY: str(CONCURRENT), DRAIN_S: "35"})
    async with load_run(system, directory / "run", seed, LONG_DEADLINE_S + PATIENCE_S) as run:
        await _know(run)
        long = [Request(len(run.requests) + number, 0.0, "/long", "long") for number in range(CONCURRENT)]
        moments = [FULL_S] * BURST + [FULL_S + n / AFTER_PER_S for n in range(round(AFTER_S * AFTER_PER_S))]
        first = len(run.requests) + CONCURRENT
        burst = [Request(first + number, at_s, "/short", "short") for number, at_s in enumerate(moments)]
        load = await run.send([*long, *burst])
        metrics = _late("long ones everywhere, then a burst", load)
        # the long route at half of its share, which is half of the places: alone, and beside a flood of short ones
        alone = await run.load([Stream("long", "/long", LONG_PER_S / 4, 0, FLOOD_S)])
        beside = await run.load(
            [
                Stream("long", "/long", LONG_PER_S / 4, 0, FLOOD_S),
                Stream("short", "/flooded", 2 * SHORT_PER_S, 0, FLOOD_S),
            ]
        )
        metrics += _late("a flood of short ones", beside)
        kept = share(_good(beside, "long", LONG_DEADLINE_S), _good(alone, "long", LONG_DEADLINE_S))
        metrics.append(Metric("a flood of short ones: the long ones' goodput ÷ alone", (kept,), at_least=0.95))
        load = await run.load(
            [
                Stream("long", "/long", 2 * LONG_PER_S, 0, FLOOD_S),
                Stream("short", "/flooded", SHORT_PER_S / 4, FLOOD_S / 2, FLOOD_S / 2),
            ]
        )
        metrics += _late("a flood of long ones", load)
        return Outcome([*metrics, *run.exact_metrics()], run.soundness("pool").complaints())


async def _know(run: LoadRun) -> None:
    """Lets it learn how long both take."""
    await run.send([Request(n, 0.0, path, "first") for n, path in enumerate(("/long", "/short", "/flooded"))])


def _late(what: str, load: Sequence[Request]) -> list[Metric]:
    metrics = []
    for kind, deadline_s in (("short", SHORT_DEADLINE_S), ("long", LONG_DEADLINE_S)):
        let_in = [request for request in load if request.kind == kind and admitted(request)]
        missed = share(sum(late(request, deadline_s) for request in let_in), len(let_in))
        metrics.append(Metric(f"{what}: {kind} ones late, of the admitted", (missed,), at_most=MOST_LATE))
        metrics.append(Metric(f"{what}: {kind} ones admitted", (float(len(let_in)),)))
    return metrics


def _good(load: Sequence[Request], kind: str, deadline_s: float) -> int:
    return sum(request.kind == kind and in_time(request, deadline_s) for request in load)

"""Who would be served, and what would be worked for nothing, without each rule of fairness and of ends.

`with` and `without` run side by side under the same load.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from benchmarks.arrivals import Request, Stream
from benchmarks.overload_fairness import max_min
from benchmarks.statistics import jain
from floodgate.peak.statistics import share
from tests.engine.system.controls import CAPACITY_PER_S, Lacking, Side, answered, broken, latency_s, refusals

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
POLITE = tuple(f"polite-{number}" for number in range(4))
NOISY = "noisy"
TENANT_PER_S = CAPACITY_PER_S / (len(POLITE) + 1)
POLITE_OF_SHARE = 0.4
NOISY_OF_SHARE = 18.0
SECONDS = 3.0
SKIP_S = 1.0
"""Until the route is full, everybody gets in."""
DEADLINE_S = 1.0
"""Of `/expiring`."""
SLACK_S = 0.05
"""Gateway and worker each estimate the clock of Redis."""


async def test_without_fair_order_a_noisy_tenant_takes_what_is_theirs(without: Lacking) -> None:
    kept, lost = await _tenants(without, "tenants")
    index = [_fairness(load) for load in (kept, lost)]
    print(f"Jain's index: {index[0]:.3f}, without {index[1]:.3f}")
    assert index[0] >= 0.99
    assert index[1] < 0.7


async def test_without_fair_order_between_tenants_the_polite_wait_behind_the_noisy_one(without: Lacking) -> None:
    kept, lost = await _tenants(without, "tenant-fairness")
    p90_s = [latency_s(_polite(load), 0.9) for load in (kept, lost)]
    print(f"p90 of the polite: {p90_s[0]:.3f} s, without {p90_s[1]:.3f} s")
    assert p90_s[1] > 2 * p90_s[0]


async def test_without_a_bound_on_a_tenant_the_polite_are_refused(without: Lacking) -> None:
    kept, lost = await _tenants(without, "tenant-share")
    refused = [refusals(_polite(load)) for load in (kept, lost)]
    print(f"polite refused, of {len(_polite(kept))}: {refused[0]}, without {refused[1]}")
    assert refused[1] > 20
    assert refused[1] > 5 * refused[0]


async def test_without_fair_order_between_routes_a_small_one_waits_behind_a_flooded_one(without: Lacking) -> None:
    async with without("route-fairness") as both:
        await both.warm("/small", "/large")
        kept, lost = await both.load(
            Stream("small", "/small", 0.3 * CAPACITY_PER_S, 0, SECONDS),
            Stream("large", "/large", 3 * CAPACITY_PER_S, 0, SECONDS),
        )
    small = [[request for request in load if request.kind == "small"] for load in (kept, lost)]
    refused = [refusals(load) for load in small]
    p90_s = [latency_s(load, 0.9) for load in small]
    print(f"small refused: {refused[0]}, without {refused[1]}; p90 {p90_s[0]:.3f} s, without {p90_s[1]:.3f} s")
    assert refused[0] + broken(small[0]) == 0
    assert p90_s[1] > 2 * p90_s[0]


async def test_without_priorities_the_critical_wait_as_long_as_the_bulk(without: Lacking) -> None:
    kept, lost = await _beside_bulk(without, "priorities", "critical")
    p50_s = [latency_s(load, 0.5) for load in (kept, lost)]
    print(f"critical p50 {p50_s[0]:.3f} s, without {p50_s[1]:.3f} s")
    assert p50_s[1] > 2 * p50_s[0]


async def test_without_weights_the_critical_are_refused(without: Lacking) -> None:
    await _refused_without(without, "weights", "critical")


async def test_without_class_shares_bulk_leaves_no_room_to_the_default(without: Lacking) -> None:
    """The critical pass what bulk has waiting; those between are judged by the whole queue."""
    await _refused_without(without, "class-shares", "default")


async def _refused_without(without: Lacking, half: str, name: str) -> None:
    kept, lost = await _beside_bulk(without, half, name)
    refused = [refusals(load) for load in (kept, lost)]
    print(f"{name} refused, of {len(kept)}: {refused[0]}, without {half} {refused[1]}")
    assert refused[1] > 20
    assert refused[1] > 5 * refused[0]


async def test_without_cancelling_handlers_start_for_clients_that_left(without: Lacking) -> None:
    async with without("cancelling") as both:
        starts = await asyncio.gather(*(_started_for_the_gone(side) for side in (both.whole, both.lacking)))
    print(f"started for clients that left, of 10: {starts[0]}, without {starts[1]}")
    assert starts == [0, 10]


async def test_without_a_look_at_the_deadline_handlers_start_for_nobody(without: Lacking) -> None:
    async with without("deadlines") as both:
        starts = await asyncio.gather(*(_started_after_the_deadline(side) for side in (both.whole, both.lacking)))
    print(f"started after the deadline, of 10: {starts[0]}, without {starts[1]}")
    assert starts == [0, 10]


async def _beside_bulk(without: Lacking, lack: str, name: str) -> tuple[list[Request], list[Request]]:
    """Put requests of a class at half the capacity beside bulk ones at four times of it; return those of the class."""
    async with without(lack) as both:
        await both.warm("/classes", headers=f"X-Class: {name}\r\n")
        loads = await both.load(
            Stream(name, "/classes", 0.5 * CAPACITY_PER_S, 0, SECONDS, 0, f"X-Class: {name}\r\n"),
            Stream("bulk", "/classes", 4 * CAPACITY_PER_S, 0, SECONDS, 0, "X-Class: bulk\r\n"),
        )
    kept, lost = ([request for request in load if request.kind == name] for load in loads)
    return kept, lost


async def _tenants(without: Lacking, lack: str) -> tuple[list[Request], list[Request]]:
    """Put four tenants at less than half their share beside one far above its own."""
    per_s = dict.fromkeys(POLITE, POLITE_OF_SHARE * TENANT_PER_S) | {NOISY: NOISY_OF_SHARE * TENANT_PER_S}
    streams = [Stream(name, "/tenants", each, 0, SECONDS, 0, f"X-Tenant: {name}\r\n") for name, each in per_s.items()]
    async with without(lack) as both:
        await both.warm("/tenants", headers="X-Tenant: polite-0\r\n")
        return await both.load(*streams)


def _polite(requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.kind != NOISY]


def _fairness(load: list[Request]) -> float:
    """Return Jain's index of what each tenant got ÷ its max-min fair share."""
    counted = [request for request in load if request.at_s > SKIP_S]
    asked = Counter(request.kind for request in counted)
    got = Counter(request.kind for request in counted if request.status == 200)
    fair = max_min(asked, got.total())
    return jain([share(got[tenant], fair[tenant]) for tenant in asked])


async def _started_for_the_gone(side: Side) -> int:
    """Let ten clients wait behind a running limit and leave; return for how many of them a handler started."""
    await side.warm("/left?seconds=0")
    staying = [Request(0, 0.0, "/left?seconds=1.5") for _ in range(2)]
    leaving = [Request(0, 0.2, "/left?seconds=0", leave_after_s=0.3) for _ in range(10)]
    sent = await side.send([*staying, *leaving])
    assert answered(sent) == 2
    assert sum(request.left for request in sent) == 10
    await side.warm("/left?seconds=0")  # whoever still waited has had a turn
    return len(side.runs(leaving))


async def _started_after_the_deadline(side: Side) -> int:
    """Let ten tasks that nobody waits for expire behind taken places; return how many started all the same."""
    await side.warm("/blocking?seconds=0", requests=200)  # known as quick, or nobody is let in behind it
    blocking = [Request(0, 0.0, "/blocking?seconds=1.5") for _ in range(16)]
    expiring = [Request(0, 0.1, "/expiring", headers="Prefer: respond-async\r\n") for _ in range(10)]
    sent = await side.send([*blocking, *expiring])
    assert Counter(request.status for request in sent) == {200: 16, 202: 10}
    await side.warm("/blocking?seconds=0", requests=20)
    return sum(run.started_s > request.done_s + DEADLINE_S - SLACK_S for request, run in side.runs(expiring))

"""Loads of seconds in simulated time: whoever is let in is answered in time, whatever the runs are like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.engine.queueing import LANE, POOL, ROUTE, Queue
from tests.engine.scripts.simulated import Arrival, Consumer, Simulation, late_share, poisson

OTHER = "ba9876543210"
HIGH = f"{POOL}:5"
SHORT_MS, LONG_MS = 20, 7000
LONG_BUDGET_MS = 30_000
PLACES = 20
KNOWN_MS = 8000
"""By then the first long run has ended: without a sample, nobody knows that it is long."""
CAPACITY_PER_S = 80.0
"""Sixteen places, 200 ms each."""
BUDGET_MS = 2000


def gate(queue: Queue) -> Simulation:
    """Return sixteen places and two routes whose only bound is the rule."""
    for route in (ROUTE, OTHER):
        queue.declare(1000, route=route)
    queue.leave()
    return Simulation(queue, [Consumer("w9.a.16", [LANE])])


def mixed(queue: Queue, split: bool) -> Simulation:
    """Return twenty places for short and long runs; `split`: half of them serve the lower level only."""
    for route in (ROUTE, OTHER):
        queue.declare(1000, route=route)
    queue.leave()
    consumers = [Consumer("w1-low.a.10", [LANE] if split else [LANE, HIGH]), Consumer("w2-all.a.10", [LANE, HIGH])]
    return Simulation(queue, consumers[: 1 + split] if split else [Consumer("w1-all.a.20", [LANE, HIGH])])


def shorts(moments: Iterable[float], lane: str = LANE) -> list[Arrival]:
    return [Arrival(at_ms, ROUTE, lane, SHORT_MS, BUDGET_MS) for at_ms in moments]


def longs(moments: Iterable[float], lane: str = LANE) -> list[Arrival]:
    return [Arrival(at_ms, OTHER, lane, LONG_MS, LONG_BUDGET_MS) for at_ms in moments]


LANES_OF = pytest.mark.parametrize(
    ("split", "short", "long"), [(False, LANE, LANE), (True, LANE, HIGH), (True, HIGH, LANE)],
    ids=["one-level", "long-above", "short-above"],
)  # fmt: skip


@LANES_OF
@pytest.mark.parametrize("apart_ms", [0, LONG_MS / PLACES], ids=["at-once", "one-by-one"])
def test_a_burst_of_short_requests_beside_long_runs_in_all_places_is_not_late(
    queue: Queue, split: bool, short: str, long: str, apart_ms: float
) -> None:
    """Twenty long ones, or one more whenever one ends; then a hundred short ones at once, and twenty a second."""
    full_ms = KNOWN_MS + (LONG_MS if apart_ms else 0)
    load = longs([0, *(KNOWN_MS + i * apart_ms for i in range(PLACES if not apart_ms else 3 * PLACES))], long)
    burst = shorts([full_ms + 500] * 100 + [full_ms + 500 + i * 50 for i in range(200)], short)
    load += burst
    mixed(queue, split).run(load)
    print(late_share(burst), sum(a.admitted for a in burst), late_share(load))
    assert late_share(burst) <= 0.02
    assert late_share(load) <= 0.02


@pytest.mark.slow
@LANES_OF
def test_a_flood_of_short_requests_leaves_a_long_route_what_it_has_alone(
    queue: Queue, split: bool, short: str, long: str
) -> None:
    def load() -> list[Arrival]:
        return longs(poisson(1, PLACES / 2 / LONG_MS * 1000 / 2, 0, 30), long)

    flood = shorts(poisson(2, 2 * PLACES / SHORT_MS * 1000, 0, 15), short)
    alone, beside = load(), load()
    mixed(queue, split).run(alone)
    queue.advance(20_000)
    mixed(queue, split).run([*beside, *flood])
    served = [sum(a.admitted and not a.late for a in each) for each in (beside, alone)]
    print(late_share(flood), sum(a.admitted for a in flood), served, late_share(beside))
    assert late_share(flood) <= 0.02
    assert late_share(beside) <= 0.02
    assert served[0] >= 0.95 * served[1]


@pytest.mark.slow
@LANES_OF
def test_a_flood_of_long_requests_leaves_a_short_route_its_share(
    queue: Queue, split: bool, short: str, long: str
) -> None:
    flood = longs([0, *poisson(1, 2 * PLACES / LONG_MS * 1000, KNOWN_MS, 40)], long)
    beside = shorts(poisson(2, PLACES / 2 / SHORT_MS * 1000 / 2, 3 * KNOWN_MS, 10), short)
    mixed(queue, split).run([*flood, *beside])
    print(late_share(beside), sum(a.admitted for a in beside), len(beside), late_share(flood))
    assert late_share(beside) <= 0.02
    assert late_share(flood) <= 0.02


def test_a_route_that_fails_quickly_now_and_then_gets_as_much_as_its_equal_neighbour(queue: Queue) -> None:
    simulation = gate(queue)
    load = [
        Arrival(at_ms, route, LANE, 200, BUDGET_MS)
        for number, route in enumerate((ROUTE, OTHER))
        for at_ms in poisson(number, CAPACITY_PER_S, 0, 10)
    ]
    for number, arrival in enumerate(load):
        if arrival.route == ROUTE and number % 10 == 0:
            arrival.run_ms, arrival.failed = 1, True
    simulation.run(load)
    answered = Counter(a.route for a in load if a.admitted and not a.late)
    print(dict(answered), late_share(load))
    assert answered[ROUTE] > 0.85 * answered[OTHER]
    assert late_share(load) <= 0.02


@pytest.mark.slow
def test_after_ten_seconds_of_quick_failures_hardly_any_of_the_admitted_are_late(queue: Queue) -> None:
    simulation = gate(queue)
    load = [Arrival(at_ms, ROUTE, LANE, 200, BUDGET_MS) for at_ms in poisson(1, 5 * CAPACITY_PER_S, 0, 15)]
    for arrival in load:
        if arrival.at_ms < 10_000:
            arrival.run_ms, arrival.failed = 1, True
    simulation.run(load)
    after = [arrival for arrival in load if arrival.at_ms >= 10_000]
    print(late_share(after), sum(a.admitted for a in after))
    assert late_share(after) <= 0.02
    assert sum(a.admitted for a in after) > 0.9 * 5 * CAPACITY_PER_S


@pytest.mark.slow
def test_the_same_where_answers_came_before(queue: Queue) -> None:
    simulation = gate(queue)
    load = [Arrival(at_ms, ROUTE, LANE, 200, BUDGET_MS) for at_ms in poisson(1, 5 * CAPACITY_PER_S, 0, 20)]
    for arrival in load:
        if 5000 <= arrival.at_ms < 15_000:
            arrival.run_ms, arrival.failed = 1, True
    simulation.run(load)
    after = [arrival for arrival in load if arrival.at_ms >= 15_000]
    print(late_share(after), sum(a.admitted for a in after))
    assert late_share(after) <= 0.02

"""Loads of seconds in simulated time: whoever is let in is answered in time, whatever the runs are like."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integration.simulated import Arrival, Consumer, Simulation, late_share, poisson
from tests.queueing import LANE, ROUTE, Queue

OTHER = "ba9876543210"
CAPACITY_PER_S = 80.0
"""Sixteen places, 200 ms each."""
BUDGET_MS = 2000


def gate(queue: Queue) -> Simulation:
    """Return sixteen places and two routes whose only bound is the rule."""
    for route in (ROUTE, OTHER):
        queue.declare(1000, route=route)
    queue.leave()
    return Simulation(queue, [Consumer("w9.a.16", [LANE])])


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

"""Streams under load in simulated time: who is let in gets its head in time, and places are used to the full."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.engine.queueing import LANE, ROUTE, Queue
from tests.engine.scripts.simulated import Arrival, Consumer, Simulation, late_share, poisson

OTHER = "ba9876543210"
PLACES = 40
HEAD_MS, HOLD_MS = 50, 2000
BUDGET_MS = 1500
"""Less than a place is held: with one average for both, nobody could wait at all."""
SECONDS = 20
PER_S = PLACES / HOLD_MS * 1000
LEAST = 0.94
"""Of what all places can carry, how much is answered in time; the load itself comes by chance."""


def pool(queue: Queue) -> Simulation:
    """Return forty places for two routes whose only bound is the rule."""
    for route in (ROUTE, OTHER):
        queue.declare(10_000, route=route)
    queue.leave()
    return Simulation(queue, [Consumer(f"w9-all.a.{PLACES}", [LANE])])


def streams(seed: int, per_s: float) -> list[Arrival]:
    return [
        Arrival(at_ms, OTHER, LANE, HOLD_MS, BUDGET_MS, head_ms=HEAD_MS) for at_ms in poisson(seed, per_s, 0, SECONDS)
    ]


def shorts(seed: int, per_s: float) -> list[Arrival]:
    return [Arrival(at_ms, ROUTE, LANE, 50, BUDGET_MS) for at_ms in poisson(seed, per_s, 0, SECONDS)]


def in_time(load: Sequence[Arrival], from_ms: float = 0) -> int:
    return sum(a.admitted and not a.late for a in load if a.at_ms >= from_ms)


OVERLOADS = pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow), 5])


@OVERLOADS
def test_streams_over_their_capacity_are_in_time_and_fill_all_places(queue: Queue, times: int) -> None:
    load = streams(1, times * PER_S)
    pool(queue).run(load)
    print(late_share(load), in_time(load), PER_S * SECONDS)
    assert late_share(load) <= 0.02
    assert in_time(load) >= LEAST * PER_S * SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 5, 10])
def test_short_requests_beside_streams_are_in_time(queue: Queue, times: int) -> None:
    """Half of the places for each at capacity."""
    long, short = streams(1, times * PER_S / 2), shorts(2, times * PLACES / 2 / 50 * 1000 / 4)
    pool(queue).run([*long, *short])
    print(late_share(long), late_share(short), in_time(long), in_time(short))
    assert late_share(long) <= 0.02
    assert late_share(short) <= 0.02


ONE_AVERAGE = {
    "of-holding": (1, (("admit", "(budget_ms - head_ms) / 3", "(budget_ms - mean_ms) / 3"),)),
    "of-heads": (
        5,
        (
            ("admit", "  class.mean_ms = mean_ms\n", "  mean_ms = head_ms\n  class.mean_ms = mean_ms\n"),
            ("admit", "or class.statistics.head_ms ~= nil and class.position > share * places_due(class)", ""),
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("times", "edits"), ONE_AVERAGE.values(), ids=ONE_AVERAGE)
def test_with_one_average_for_both_they_would_be_late_or_refused(
    queue: Queue, times: int, edits: tuple[tuple[str, str, str], ...]
) -> None:
    """The control: what the goals above would not allow."""
    load = streams(1, times * PER_S)
    pool(Queue(queue.client, queue.keys.namespace, edits)).run(load)
    print(late_share(load), in_time(load), PER_S * SECONDS)
    assert late_share(load) > 0.02 or in_time(load) < LEAST * PER_S * SECONDS

"""Processes of one namespace that differ in `lease_s`: each one's leases and registrations last as long as it says."""

from __future__ import annotations

import pytest

from tests.engine.queueing import LANE, ROUTE, Queue, lease, task_id

LONG, SHORT = 60_000, 5_000
pairs = pytest.mark.parametrize(("own", "other"), [(SHORT, LONG), (5_000, 1_000), (1_000, 5_000)])
"""The lease of who is looked at, and of the other, who reaps."""


def named(lease_ms: int) -> str:
    return f"w{lease_ms}-{lease_ms}.a.10"


def pass_time(queue: Queue, ms: int, *, alive: int = 0, held: str = "", reapers: tuple[int, ...]) -> None:
    """Let `ms` pass; who is `alive` renews five times per lease, and each of `reapers` reaps as often as it would."""
    step = 100
    for _ in range(0, ms, step):
        queue.advance(step)
        at = queue.now_ms
        if alive and at % (alive // 5) == 0:
            queue.register(named(alive), lease_ms=alive, leases=[held] if held else [])
        for lease_ms in reapers:
            if at % min(1000, lease_ms // 5) == 0:
                queue.reap(lease_ms=lease_ms)


def running(queue: Queue, own: int, other: int) -> str:
    """Let a task run under a lease of `own`, past the mercy of the first reap; both are registered."""
    queue.leave()
    for lease_ms in (own, other):
        queue.register(named(lease_ms), lease_ms=lease_ms)
    queue.reap(lease_ms=other)
    pass_time(queue, max(own, other) + 1000, alive=own, reapers=(other,))
    queue.register(named(other), lease_ms=other)
    queue.admit("1", tries=1, budget_ms=600_000)
    assert queue.claimed(consumer=named(own), lease_ms=own) == [task_id("1")]
    return lease("1", consumer=named(own))


@pairs
def test_nobody_cuts_the_leases_of_others(queue: Queue, own: int, other: int) -> None:
    held = running(queue, own, other)
    pass_time(queue, own - own // 5, reapers=(other,))
    assert queue.running() == {held}
    assert queue.register(named(own), lease_ms=own, leases=[held]).gone == ()
    pass_time(queue, own + 1500, reapers=(other,))
    assert queue.replies() == [(task_id("1"), "lost")]


@pairs
def test_nobody_cuts_the_registrations_of_others(queue: Queue, own: int, other: int) -> None:
    queue.leave()
    queue.register(named(own), lease_ms=own)
    queue.reap(lease_ms=other)  # the first one: everybody gets a registration
    pass_time(queue, own * 6 // 10 - 200, reapers=(other,))
    assert queue.client.zcard(queue.keys.serving(LANE)) == 1
    pass_time(queue, 1500, reapers=(other,))
    assert queue.client.zcard(queue.keys.serving(LANE)) == 0


@pairs
def test_an_outage_ends_no_lease_of_who_renews_after_it(queue: Queue, own: int, other: int) -> None:
    held = running(queue, own, other)
    pass_time(queue, 1000, alive=own, held=held, reapers=(other,))
    queue.advance(max(own, 3000) + 1000)
    queue.reap(lease_ms=other)
    pass_time(queue, own // 5, reapers=(other,))
    assert queue.register(named(own), lease_ms=own, leases=[held]).gone == ()


@pairs
def test_after_a_step_of_the_clock_leases_and_registrations_end_within_twice_their_owners_time(
    queue: Queue, own: int, other: int
) -> None:
    held = running(queue, own, other)
    queue.advance(-70_000)
    queue.reap(lease_ms=other)
    left = queue.client.zscore(queue.keys.running(ROUTE), held) or 0
    registered = queue.client.zscore(queue.keys.serving(LANE), named(own)) or 0
    assert left < queue.now_ms + 2 * own
    assert registered < queue.now_ms + 2 * own


def test_a_name_from_outside_says_nothing_extreme(queue: Queue) -> None:
    queue.register("x-99999999999999.a.1")
    queue.register("y-0.a.1")
    queue.reap()
    until = float(queue.client.hget(queue.keys.reap(), "lease_grace_until") or 0)
    assert until <= queue.now_ms + 60_000
    assert int(queue.client.hget(queue.keys.reap(), "gap") or 0) >= 2000


# A long one, of which nothing may be cut, and a short one, for which half of the long one would be no outage


def test_a_short_lease_cuts_no_long_lease(queue: Queue) -> None:
    test_nobody_cuts_the_leases_of_others(queue, LONG, SHORT)


def test_a_short_lease_cuts_no_long_registration(queue: Queue) -> None:
    test_nobody_cuts_the_registrations_of_others(queue, LONG, SHORT)


def test_an_outage_beside_a_short_lease_ends_no_long_one(queue: Queue) -> None:
    test_an_outage_ends_no_lease_of_who_renews_after_it(queue, LONG, SHORT)


def test_an_outage_beside_a_long_lease_ends_no_short_one(queue: Queue) -> None:
    test_an_outage_ends_no_lease_of_who_renews_after_it(queue, SHORT, LONG)


def test_a_step_of_the_clock_beside_a_short_lease(queue: Queue) -> None:
    test_after_a_step_of_the_clock_leases_and_registrations_end_within_twice_their_owners_time(queue, LONG, SHORT)


def test_a_step_of_the_clock_beside_a_long_lease(queue: Queue) -> None:
    test_after_a_step_of_the_clock_leases_and_registrations_end_within_twice_their_owners_time(queue, SHORT, LONG)

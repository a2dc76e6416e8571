"""Tenants: whose turn comes before a newcomer's, and who may overtake it. Ten places."""

from __future__ import annotations

from typing import Any

import pytest

from floodgate.broker.commands import AdmitCode
from floodgate.broker.keys import INFLIGHT_S, flow_of
from tests.engine.queueing import LANE, POOL, ROUTE, START_MS, WORKER, Queue, task_id

LATE, SHARE = AdmitCode.LATE, AdmitCode.SHARE
OTHER = "ba9876543210"
SHARERS = f"{POOL}|{ROUTE}|8"
"""What the tenants' key is of."""
TURN = 1000 / 8
"""Of virtual time: a second of service at weight 8."""


def flooded(queue: Queue, waiting: int, max_running: int = 0) -> Queue:
    """Let one tenant take all ten places for a second each, and have some more wait.

    Of the 3 s of slack, ten places come free in a third, and 24 in four fifths.
    """
    queue.declare(10_000, started_ms=START_MS, max_running=max_running)
    queue.measured(mean_ms=1000, samples=20, completed=100, busy_ms=10_000)
    queue.admit(*(f"noisy{i}" for i in range(10)), tenant="noisy")
    queue.take_marker()
    queue.claim()
    queue.admit(*(f"noisy{i}" for i in range(10, 10 + waiting)), tenant="noisy")
    return queue


def codes(queue: Queue, *names: str, tenant: str = "", share: int = 1000) -> list[int]:
    return queue.codes(*names, tenant=tenant, share=share, budget_ms=4000)


def one_each(queue: Queue, tenants: int) -> list[int]:
    return [code for i in range(tenants) for code in codes(queue, f"p{i}", tenant=f"p{i}")]


def sharers_of(queue: Queue) -> set[str]:
    """Return the flows that are counted; '' is virtual time."""
    found: Any = queue.client.zrange(queue.keys.of("turns", SHARERS), 0, -1)
    return {flow.decode() for flow in found} - {""}


def test_alone_a_tenant_waits_as_the_route_does(queue: Queue) -> None:
    assert codes(flooded(queue, 0), *(str(i) for i in range(12)), tenant="noisy") == [0] * 10 + [LATE] * 2


def test_a_polite_tenant_comes_in_where_the_queue_of_another_is_too_long(queue: Queue) -> None:
    flooded(queue, 10)
    assert codes(queue, "x") == [LATE]
    assert codes(queue, "1", tenant="polite") == [0]


def test_a_tenants_place_is_among_those_whose_turn_comes_before(queue: Queue) -> None:
    flooded(queue, 10)
    assert codes(queue, *"123456", tenant="polite") == [0] * 5 + [LATE]  # the first, third, fifth … of ten


def test_the_more_share_the_turns_the_fewer_of_ones_own_may_wait(queue: Queue) -> None:
    flooded(queue, 1)
    assert one_each(queue, 4) == [0] * 4
    assert codes(queue, *"12345", tenant="polite") == [0] * 4 + [SHARE]  # 4 + 1 + 4 × 5 of 24


def test_who_has_much_waiting_is_refused_while_others_ask(queue: Queue) -> None:
    flooded(queue, 5)
    assert one_each(queue, 3) == [0] * 3
    assert codes(queue, "1", tenant="noisy") == [SHARE]
    assert codes(queue, "2", tenant="polite") == [0]


def test_only_as_many_overtake_as_wait(queue: Queue) -> None:
    flooded(queue, 0)
    others = {flow_of(ROUTE, 8, f"p{i}"): 20 * TURN for i in range(5)}
    queue.client.zadd(queue.keys.of("turns", SHARERS), others)
    assert codes(queue, *"123456", tenant="polite") == [0] * 5 + [SHARE]


def test_where_too_many_take_turns_even_the_first_is_too_late(queue: Queue) -> None:
    flooded(queue, 0)
    assert one_each(queue, 10) == [0] * 10
    assert codes(queue, "1", tenant="polite") == [LATE]


def test_what_is_parked_takes_turns_too(queue: Queue) -> None:
    flooded(queue, 0, max_running=10)
    assert one_each(queue, 10) == [0] * 10
    assert codes(queue, "1", tenant="polite") == [LATE]


def test_what_waits_of_other_routes_does_not_count(queue: Queue) -> None:
    flooded(queue, 1)
    queue.declare(100, route=OTHER)
    others = [queue.request(str(i), route=OTHER, tenant=f"t{i}") for i in range(20)]
    assert [int(result.code) for result in queue.ask(*others).results].count(0) >= 10
    assert codes(queue, "1", tenant="polite") == [0]


def test_a_lower_class_waits_for_the_whole_queue_too(queue: Queue) -> None:
    flooded(queue, 10)
    assert codes(queue, "1", tenant="polite", share=950) == [LATE]
    assert codes(queue, "2", tenant="polite") == [0]


def test_who_asked_within_ten_turns_shares_them(queue: Queue) -> None:
    flooded(queue, 2)  # twelve turns are promised
    for turns, tenant, sharers in ((14, "polite", {"noisy", "polite"}), (24, "other", {"polite", "other"})):
        queue.client.zadd(queue.keys.of("clock", POOL), {"": turns * TURN})
        assert codes(queue, tenant, tenant=tenant) == [0]
        assert sharers_of(queue) == {flow_of(ROUTE, 8, name) for name in sharers}


def test_a_clock_that_begins_anew_knows_no_turns_of_before(queue: Queue) -> None:
    flooded(queue, 0)
    queue.pass_time(1000, alive=[WORKER])
    assert queue.virtual() is None
    for tenant, sharers in (("polite", 1), ("other", 2)):
        codes(queue, tenant, tenant=tenant)
        assert queue.virtual() == 0
        assert len(sharers_of(queue)) == sharers
        assert 0 < queue.client.ttl(queue.keys.of("turns", SHARERS)) <= INFLIGHT_S


@pytest.mark.leaves_garbage
def test_a_tenant_that_holds_nothing_is_not_behind_itself(queue: Queue) -> None:
    flooded(queue, 1)
    queue.client.zadd(queue.keys.of("turns", SHARERS), {flow_of(ROUTE, 8, "polite"): 1e9})
    assert codes(queue, "1", tenant="polite") == [0]
    assert max(queue.tags(queue.keys.of("waiting", LANE))) <= 10 * TURN


def test_every_route_forgets_the_turns_of_an_earlier_clock(queue: Queue) -> None:
    queue.declare(100, route=OTHER)
    flooded(queue, 20)
    queue.cancel(*queue.tasks())
    queue.pass_time(2000, alive=[WORKER])
    assert queue.virtual() is None
    queue.admit("new", route=OTHER, tenant="a")
    queue.admit("1", tenant="noisy")
    assert set(queue.tags(queue.keys.of("waiting", LANE))) == {0}
    assert sharers_of(queue) == {flow_of(ROUTE, 8, "noisy")}


def test_what_is_cancelled_gives_its_turn_back(queue: Queue) -> None:
    flooded(queue, 5)
    queue.cancel(*(task_id(f"noisy{i}") for i in range(11, 15)))
    assert queue.admit("1", tenant="noisy").results[0].code == AdmitCode.ADMITTED
    assert queue.tags(queue.keys.of("waiting", LANE)) == [10 * TURN, 11 * TURN]


def test_who_has_just_been_served_has_nothing_waiting(queue: Queue) -> None:
    flooded(queue, 0)
    queue.measured(completed=1000)
    queue.admit(*(f"more{i}" for i in range(30)), tenant="noisy")
    queue.measured(completed=100)
    turns = {flow_of(ROUTE, 8, f"p{i}"): 20 * TURN for i in range(30)}
    queue.client.zadd(queue.keys.of("turns", SHARERS), {**turns, flow_of(ROUTE, 8, "polite"): 10 * TURN})
    assert codes(queue, "1", tenant="polite") == [0]


def test_names_that_come_once_do_not_fill_the_memory(queue: Queue) -> None:
    queue.declare(100_000, started_ms=START_MS)
    queue.client.zadd(queue.keys.of("clock", POOL), {"": 0})
    many = {flow_of(ROUTE, 8, f"t{i}"): float(i) for i in range(12_000)}
    queue.client.zadd(queue.keys.of("turns", SHARERS), many)
    assert codes(queue, "1", tenant="late") == [0]
    assert len(sharers_of(queue)) == 10_001

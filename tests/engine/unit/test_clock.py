"""Redis's time as a process estimates it: never ahead, and quick to learn."""

from __future__ import annotations

import pytest

from floodgate.broker.clock import RedisClock


def test_before_the_first_reply_nobody_knows_the_time() -> None:
    with pytest.raises(LookupError):
        RedisClock(lambda: 0.0).now_ms()


def test_the_estimate_runs_on_with_the_own_clock() -> None:
    now_s = 5.0
    clock = RedisClock(lambda: now_s)
    clock.observe(1_000_000, 5.0)
    now_s = 5.25
    assert clock.now_ms() == 1_000_250


def test_the_reply_that_travelled_fastest_tells_the_time_and_none_is_ahead() -> None:
    clock = RedisClock(lambda: 10.0)
    for travel_ms in (40, 3, 90):
        clock.observe(1_000_000 - travel_ms, 10.0)
    assert clock.now_ms() == 1_000_000 - 3


def test_a_clock_that_stepped_back_is_followed_after_sixteen_replies() -> None:
    clock = RedisClock(lambda: 10.0)
    clock.observe(1_000_000, 10.0)
    for _ in range(15):
        clock.observe(900_000, 10.0)
    assert clock.now_ms() == 1_000_000
    clock.observe(900_000, 10.0)
    assert clock.now_ms() == 900_000


def test_a_clock_that_stepped_forward_is_followed_at_once() -> None:
    clock = RedisClock(lambda: 10.0)
    clock.observe(1_000_000, 10.0)
    clock.observe(1_100_000, 10.0)
    assert clock.now_ms() == 1_100_000

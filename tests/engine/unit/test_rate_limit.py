"""What a gateway refuses by itself: over the rate, and what Redis refused a moment ago."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Registry, declared_in
from floodgate.gateway import rate_limit
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.rate_limit import MOST_CACHED, RateLimiter, TokenBucket
from floodgate.gateway.request_options import RequestOptions
from floodgate.gateway.responses import spread
from shared import Rate, queued

FULL = Outcome(failure=Failure.FULL, retry_after_s=4)
OPTIONS = RequestOptions(1000)


async def handler() -> None: ...


class Clock:
    """The process's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    moved = Clock()
    monkeypatch.setattr(rate_limit, "time", moved)
    return moved  # type: ignore[return-value]


def registry(*rates: Rate | None) -> Registry:
    before = len(declared_in(__name__))
    for number, rate in enumerate(rates):
        queued(f"/{number}", 5, rate=rate)(handler)
    return build_registry(declared_in(__name__)[before:], timeout_s=1)


def test_a_bucket_lets_its_size_through_and_refills_continuously(clock: Clock) -> None:
    bucket = TokenBucket(Rate(bucket=2, per_s=4))
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.25]
    clock.now_s += 0.125
    assert bucket.take() == pytest.approx(0.125)
    clock.now_s += 0.125
    assert bucket.take() == 0
    clock.now_s += 3600
    assert [bucket.take() > 0 for _ in range(3)] == [False, False, True]


def test_what_the_process_refuses_costs_the_route_nothing(clock: Clock) -> None:
    own = registry(Rate(bucket=3, per_s=0.001))
    (handler,) = own.handlers
    limiter = RateLimiter(own, Rate(bucket=1, per_s=1))
    assert limiter.over_rate(handler.route) is None
    for _ in range(10):
        refused = limiter.over_rate(handler.route)
        assert refused is not None
        assert refused.retry_after_s == pytest.approx(1)
    for _ in range(2):
        clock.now_s += 1
        assert limiter.over_rate(handler.route) is None
    clock.now_s += 1
    refused = limiter.over_rate(handler.route)
    assert refused is not None
    assert refused.retry_after_s > 900  # the route's own, which took three and no more


def test_each_route_has_its_bucket_and_all_share_that_of_the_process(clock: Clock) -> None:
    made = registry(Rate(1, 1), None)
    limiter = RateLimiter(made, Rate(2, 1))
    first, second = (h.route for h in made.handlers)
    assert limiter.over_rate(first) is None
    over = limiter.over_rate(first)
    assert over is not None
    assert (over.failure, over.retry_after_s) == (Failure.RATE, 1)
    assert limiter.over_rate(second) is None
    assert limiter.over_rate(second) is not None
    assert RateLimiter(made, None).over_rate(second) is None


def test_a_refusal_holds_for_its_kind_and_as_long_as_it_was_told(clock: Clock) -> None:
    limiter = RateLimiter(registry(), None)
    limiter.cache("r", OPTIONS, FULL, 0.2)
    assert limiter.cached("r", OPTIONS) is FULL
    assert limiter.cached("r", dataclasses.replace(OPTIONS, tenant="other")) is None
    assert limiter.cached("r", dataclasses.replace(OPTIONS, weight=1, share=600)) is None
    assert limiter.cached("r", dataclasses.replace(OPTIONS, async_response=True)) is None
    assert limiter.cached("other", OPTIONS) is None
    clock.now_s += 0.21
    assert limiter.cached("r", OPTIONS) is None


@pytest.mark.parametrize(
    ("options", "for_s"),
    [
        (OPTIONS, 0.0),
        (dataclasses.replace(OPTIONS, has_full_budget=False), 0.2),
        (dataclasses.replace(OPTIONS, weight=64, share=1000), 0.2),
    ],
    ids=["nothing waits", "less than the whole time", "critical"],
)
def test_what_says_nothing_of_others_is_not_cached(clock: Clock, options: RequestOptions, for_s: float) -> None:
    limiter = RateLimiter(registry(), None)
    limiter.cache("r", options, FULL, for_s)
    assert limiter.cached("r", OPTIONS) is None
    assert limiter.cached("r", options) is None


def test_a_request_with_less_time_is_refused_from_memory_too(clock: Clock) -> None:
    limiter = RateLimiter(registry(), None)
    limiter.cache("r", OPTIONS, FULL, 0.2)
    assert limiter.cached("r", RequestOptions(500, has_full_budget=False)) is FULL


def test_refusals_from_memory_are_counted_until_they_are_told(clock: Clock) -> None:
    limiter = RateLimiter(registry(), None)
    limiter.cache("r", OPTIONS, FULL, 0.2)
    for _ in range(3):
        limiter.cached("r", OPTIONS)
    assert limiter.take_suppressed({"other"}) == {}
    assert limiter.take_suppressed({"r", "other"}) == {"r": 3}
    assert limiter.take_suppressed({"r"}) == {}


def test_names_from_outside_do_not_fill_the_memory(clock: Clock) -> None:
    limiter = RateLimiter(registry(), None)
    for number in range(MOST_CACHED + 5):
        limiter.cache("r", dataclasses.replace(OPTIONS, tenant=str(number)), FULL, 0.2)
    assert len(limiter._cache) <= MOST_CACHED


def test_the_length_of_a_name_from_outside_does_not_fill_the_memory(clock: Clock) -> None:
    limiter = RateLimiter(registry(), None)
    limiter.cache("r", dataclasses.replace(OPTIONS, tenant="x" * 60_000), FULL, 0.2)
    assert limiter.cached("r", dataclasses.replace(OPTIONS, tenant="x" * 60_000)) is FULL
    assert limiter.cached("r", dataclasses.replace(OPTIONS, tenant="x" * 60_001)) is None
    assert max(len(str(kind)) for kind in limiter._cache) < 100


def test_retry_after_is_spread_over_the_clients_and_bounded() -> None:
    drawn = {spread(10) for _ in range(500)}
    assert drawn <= set(range(5, 16))
    assert len(drawn) > 5
    assert {spread(0.001) for _ in range(50)} == {1}
    assert {spread(1e9) for _ in range(50)} == {60}

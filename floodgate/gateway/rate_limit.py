"""Refusals that cost Redis nothing: token buckets, and what `admit` said a moment ago.

Of one gateway process. With a refusal `admit` says how long it holds for the same
route, class and tenant; a fixed time would leave the workers idle. Must not know Redis.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from fastapi import Request

from floodgate.broker.keys import flow_of
from floodgate.declare.head import Rate
from floodgate.declare.registry import Registry
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.request_options import RequestOptions

MOST_CACHED = 10_000
"""Remembered refusals at once: tenants' names come from outside."""


class TokenBucket:
    """A token bucket with continuous refill."""

    __slots__ = ("_at_s", "_left", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = rate.bucket
        self._at_s = time.monotonic()

    def wait_s(self) -> float:
        """Return 0 if there is a token, or the seconds until there is one."""
        now_s = time.monotonic()
        self._left = min(self._rate.bucket, self._left + (now_s - self._at_s) * self._rate.per_s)
        self._at_s = now_s
        return 0.0 if self._left >= 1 else (1 - self._left) / self._rate.per_s

    def take(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        if wait_s := self.wait_s():
            return wait_s
        self._left -= 1
        return 0.0


class RateLimiter:
    """What one process may refuse by itself. `rate` is for all of its queued routes together."""

    def __init__(self, registry: Registry, rate: Rate | None) -> None:
        shared = [] if rate is None else [TokenBucket(rate)]
        self._buckets = {
            handler.route: [TokenBucket(handler.admission.rate), *shared] if handler.admission.rate else shared
            for handler in registry.handlers
        }
        self._cache: dict[str, tuple[float, Outcome]] = {}
        self._suppressed: Counter[str] = Counter()
        self.results_full = False
        """Redis keeps as many results of 202s as it may."""

    def over_rate(self, route: str) -> Outcome | None:
        """Take a token from the route's bucket and the process's; the refusal, which takes none, if one is empty."""
        buckets = self._buckets[route]
        # Both are looked at before a token is taken from either: a refusal must not use up the other's.
        for bucket in buckets:
            if wait_s := bucket.wait_s():
                return Outcome(failure=Failure.RATE, retry_after_s=wait_s)
        for bucket in buckets:
            bucket.take()
        return None

    def cached(self, route: str, options: RequestOptions) -> Outcome | None:
        """Return the refusal that still holds for requests of this kind."""
        if not self._cache or options.skips_cache:
            return None
        kind = _kind(route, options)
        cached = self._cache.get(kind)
        if cached is None:
            return None
        until_s, answer = cached
        if time.monotonic() >= until_s:
            del self._cache[kind]
            return None
        self._suppressed[route] += 1
        return answer

    def cache(self, route: str, options: RequestOptions, answer: Outcome, for_s: float) -> None:
        """Hold on to a refusal; one with less than the route's full time says nothing of others."""
        if for_s <= 0 or not options.has_full_budget or options.skips_cache:
            return
        if len(self._cache) >= MOST_CACHED:
            self._cache.clear()
        self._cache[_kind(route, options)] = time.monotonic() + for_s, answer

    def take_suppressed(self, routes: Collection[str]) -> dict[str, int]:
        """Return how many of these routes were refused from memory since the last call."""
        return {route: self._suppressed.pop(route) for route in routes if route in self._suppressed}


class RateLimited(Exception):
    """A plain route's bucket is empty; it becomes the same 429 as a queued route's."""

    def __init__(self, answer: Outcome) -> None:
        super().__init__("too many requests")
        self.answer = answer


def limit(rate: Rate) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that puts a token bucket on a plain route: ``Depends(limit(Rate(100, 50)))``."""
    bucket = TokenBucket(rate)

    async def take(request: Request) -> None:
        if wait_s := bucket.take():
            raise RateLimited(Outcome(failure=Failure.RATE, retry_after_s=wait_s))

    return take


def _kind(route: str, options: RequestOptions) -> str:
    """Return a name of bounded length, however long a tenant's is."""
    return flow_of(route, options.weight, options.tenant, options.async_response)

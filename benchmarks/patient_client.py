"""A client worth copying: it asks again without making an overload worse.

Owns when to ask again and when to stop. Three rules: never sooner than
`Retry-After` says; never all at the same moment; and never so many that retries
keep an overload going by themselves. Must not know how a request is sent:

>>> async def order(http: httpx.AsyncClient, client: PatientClient) -> httpx.Response:
...     return await client.ask(lambda: http.get("/orders"))
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

REFUSED = frozenset({429, 503})
"""The request was not carried out: it may be sent again, whatever its method."""
UNCERTAIN = frozenset({502, 504})
"""It may have been carried out: only an idempotent one is sent again (RFC 9110, 9.2.2)."""
FIRST_DELAY_S = 0.5
MOST_DELAY_S = 30.0
"""Of the client's own back-off; what `Retry-After` says has no upper limit but `most_wait_s`."""
SPREAD = 0.1
"""Many clients are given the same second; each comes up to a tenth later."""


class Response(Protocol):
    """What is looked at; `httpx.Response` fits."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


Answer = TypeVar("Answer", bound=Response)


class RetryBudget:
    """Bounds retries to a share of the requests, over all requests of a process.

    With it, a server that refuses everything sees at most `1 + share` times the
    load; with three unbounded retries each it would see four times the load just
    when it has the least to spare. `reserve` retries are free, so that a client
    that asks seldom may still ask again.
    """

    def __init__(self, share: float = 0.1, reserve: float = 10.0) -> None:
        self._share = share
        self._most = self._left = reserve

    def earn(self) -> None:
        """Notes a first attempt."""
        self._left = min(self._most, self._left + self._share)

    def spend(self) -> bool:
        """Takes one retry from the budget; False when there is none left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class PatientClient:
    """Asks until there is an answer, `retries` are used up, or the wait would be longer than `most_wait_s`.

    `transient` are the errors of the transport after which nobody knows whether
    the request arrived; for httpx pass ``(httpx.TransportError,)``. Keep one
    client per process: its budget is for all that the process asks.
    """

    def __init__(
        self,
        *,
        retries: int = 3,
        budget: RetryBudget | None = None,
        most_wait_s: float = 120.0,
        transient: tuple[type[Exception], ...] = (OSError,),
        chance: random.Random | None = None,
    ) -> None:
        self._retries = retries
        self._budget = RetryBudget() if budget is None else budget
        self._most_wait_s = most_wait_s
        self._transient = transient
        self._chance = random.Random() if chance is None else chance

    async def ask(self, send: Callable[[], Awaitable[Answer]], *, idempotent: bool = True) -> Answer:
        """Calls `send` until it brings an answer that is worth keeping; returns the last one.

        `idempotent=False` for POST and PATCH: then only a refusal is asked again.
        Raises what `send` raises, once it is not asked again.
        """
        self._budget.earn()
        for attempt in range(self._retries + 1):
            try:
                answer = await send()
            except self._transient:
                wait_s = self.wait_s(attempt, None)
                if not idempotent or not self._may_wait(attempt, wait_s):
                    raise
            else:
                again = answer.status_code in REFUSED or (idempotent and answer.status_code in UNCERTAIN)
                wait_s = self.wait_s(attempt, answer.headers.get("retry-after"))
                if not again or not self._may_wait(attempt, wait_s):
                    return answer
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def wait_s(self, attempt: int, retry_after: str | None) -> float:
        """Returns how long to wait after an attempt, the first being 0: what the server named, else a back-off.

        The back-off has "full jitter": anything from 0 to a limit that doubles.
        """
        named_s = None if retry_after is None else retry_after_s(retry_after)
        if named_s is not None:
            return named_s * self._chance.uniform(1, 1 + SPREAD)
        return self._chance.uniform(0, min(MOST_DELAY_S, FIRST_DELAY_S * 2**attempt))

    def _may_wait(self, attempt: int, wait_s: float) -> bool:
        return attempt < self._retries and wait_s <= self._most_wait_s and self._budget.spend()


def retry_after_s(retry_after: str) -> float | None:
    """Returns the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3); None for what is no such value."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds())

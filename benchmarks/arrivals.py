"""What is to be sent, and when: Poisson arrivals from a seed, and the record of each request.

Pure: owns no socket and no clock. Equal seeds give equal requests.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

NAN = math.nan


@dataclass(frozen=True, slots=True)
class Stream:
    """Poisson arrivals of one kind: `per_s` of them from `start_s` on, for `seconds`.

    `headers` are whole header lines. A share `leaving` of the clients leaves at a
    random moment within `leave_within_s` of the intended time.
    """

    kind: str
    path: str
    per_s: float
    start_s: float
    seconds: float
    phase: int = 0
    headers: str = ""
    leaving: float = 0.0
    leave_within_s: float = 0.0


@dataclass(slots=True, eq=False)
class Request:
    """One request, and what became of it; times are of the monotonic clock, in s."""

    number: int
    at_s: float
    """Intended time, from the start of its run."""
    path: str
    kind: str = "load"
    phase: int = 0
    headers: str = ""
    leave_after_s: float | None = None
    attempt: int = 0
    intended_s: float = NAN
    lag_s: float = NAN
    """How much later than intended the generator came to it."""
    sent_s: float = NAN
    done_s: float = NAN
    status: int = 0
    """0 when there was no answer; then `reason` tells why."""
    reason: str = ""
    """Of a problem document its title."""
    retry_after_s: float = NAN
    predicted_ms: float = NAN
    left: bool = False
    """The client left before there was an answer."""
    waiter: asyncio.Future[None] | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> str:
        """What it sends as `X-Request-ID`, and its handler notes."""
        return f"{self.number}.{self.attempt}"

    @property
    def latency_s(self) -> float:
        return self.done_s - self.intended_s


def arrivals(streams: Iterable[Stream], seed: int, first: int = 0) -> list[Request]:
    """Return the requests of all streams in order of time, numbered from `first`; equal seeds give equal lists."""
    requests = []
    for stream in streams:
        chance = random.Random(f"{seed} {stream.kind} {stream.path} {stream.phase} {stream.start_s}")
        at_s, end_s = stream.start_s, stream.start_s + stream.seconds
        while stream.per_s > 0 and (at_s := at_s + chance.expovariate(stream.per_s)) < end_s:
            leaves = chance.random() < stream.leaving
            leave_after_s = chance.uniform(0, stream.leave_within_s) if leaves else None
            requests.append(Request(0, at_s, stream.path, stream.kind, stream.phase, stream.headers, leave_after_s))
    requests.sort(key=lambda request: request.at_s)
    for number, request in enumerate(requests, first):
        request.number = number
    return requests

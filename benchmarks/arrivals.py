"""What is to be sent, and when: Poisson arrivals from a seed; and the record of each request, as it is kept.

Owns no socket and no clock. Equal seeds give equal requests. A run's records stand in a CSV file, so that every
figure can be computed again: times in seconds from the start of the run, whose moment on the monotonic clock
stands in a file beside it, because notes and samples are of that clock.
"""

from __future__ import annotations

import asyncio
import csv
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAN = math.nan
ORIGIN = "origin"
TIMES = ("intended_s", "sent_s", "done_s")
COLUMNS: dict[str, Callable[[str], Any]] = {
    "number": int,
    "attempt": int,
    "kind": str,
    "path": str,
    "phase": int,
    **dict.fromkeys((*TIMES, "lag_s"), float),
    "status": int,
    "reason": str,
    "retry_after_s": float,
    "predicted_ms": float,
    "left": "True".__eq__,
}
"""What is kept of a request, and how it is read back; not-a-number stands for what there is not."""


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
    method: str = "GET"


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
    method: str = "GET"
    location: str = ""
    """Of a 202: where its result will be."""
    untouched: bool = False
    """No answer: there was no connection, or a kept one ended before a byte. Browsers send such a request again."""
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
    """Returns the requests of all streams in order of time, numbered from `first`; equal seeds give equal lists."""
    requests = []
    for stream in streams:
        chance = random.Random(f"{seed} {stream.kind} {stream.path} {stream.phase} {stream.start_s}")
        at_s, end_s = stream.start_s, stream.start_s + stream.seconds
        while stream.per_s > 0 and (at_s := at_s + chance.expovariate(stream.per_s)) < end_s:
            leaves = chance.random() < stream.leaving
            leave_after_s = chance.uniform(0, stream.leave_within_s) if leaves else None
            request = Request(0, at_s, stream.path, stream.kind, stream.phase, stream.headers, leave_after_s)
            request.method = stream.method
            requests.append(request)
    requests.sort(key=lambda request: request.at_s)
    for number, request in enumerate(requests, first):
        request.number = number
    return requests


def write_records(file: Path, requests: Iterable[Request], origin_s: float) -> None:
    """Writes all records."""
    file.with_name(ORIGIN).write_text(f"{origin_s:.6f}\n")
    with file.open("w", newline="") as opened:
        rows = csv.DictWriter(opened, COLUMNS)
        rows.writeheader()
        for request in requests:
            times = {name: f"{getattr(request, name) - origin_s:.6f}" for name in TIMES}
            rows.writerow({name: getattr(request, name) for name in COLUMNS} | times)


def read_records(file: Path) -> tuple[list[Request], float]:
    """Returns the requests of a file, with their times as they stand there, and the moment these count from."""
    origin_s = float(file.with_name(ORIGIN).read_text())
    with file.open(newline="") as opened:
        rows: list[dict[str, Any]] = [
            {name: convert(row[name]) for name, convert in COLUMNS.items()} for row in csv.DictReader(opened)
        ]
    return [Request(at_s=row["intended_s"], **row) for row in rows], origin_s

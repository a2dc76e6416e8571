"""What the queue holds, looked at 40 times a second: in flight, running, and the limit, per route.

A process of its own, so that looking costs the generator nothing. Writes CSV; owns
its columns. Reads sizes of keys only: each is exact, since every script is atomic.
"""

from __future__ import annotations

import contextlib
import csv
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from floodgate.broker.keys import Keys

PERIOD_S = 0.025
SURVEY_S = 1.0
COLUMNS = ("at_s", "route", "in_flight", "running", "limit")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one route; `at_s` is of the monotonic clock, in s."""

    at_s: float
    route: str
    in_flight: int
    running: int
    limit: int

    @property
    def waiting(self) -> int:
        """What waits; the two sizes are read one after the other, so they may be one apart."""
        return max(0, self.in_flight - self.running)


def read(file: Path) -> list[Sample]:
    """Returns all samples of a file."""
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        rows = [row for row in csv.reader(opened) if len(row) == len(COLUMNS) and row[0] != COLUMNS[0]]
    return [Sample(float(at_s), route, int(used), int(runs), int(limit)) for at_s, route, used, runs, limit in rows]


def over_limit(samples: list[Sample]) -> int:
    """Returns how many looks saw more in flight than the route's limit."""
    return sum(sample.in_flight > sample.limit for sample in samples)


def main(url: str, namespace: str, file: str) -> None:
    """Samples until the process is told to end."""
    keys, client = Keys(namespace), Redis.from_url(url)
    routes: list[str] = []
    surveyed_s = 0.0
    with open(file, "w", newline="", buffering=1) as opened:
        rows = csv.writer(opened)
        rows.writerow(COLUMNS)
        while True:
            start_s = time.monotonic()
            with contextlib.suppress(RedisError):
                if start_s - surveyed_s > SURVEY_S:
                    routes, surveyed_s = _routes(client, keys), start_s
                for sample in _look(client, keys, routes):
                    rows.writerow(sample)
            time.sleep(max(0.0, PERIOD_S - (time.monotonic() - start_s)))


def _routes(client: Any, keys: Keys) -> list[str]:
    """Returns the routes that have been declared."""
    return sorted(member.decode() for member in client.smembers(keys.routes()))


def _look(client: Any, keys: Keys, routes: list[str]) -> list[tuple[str, str, int, int, int]]:
    pipeline = client.pipeline(transaction=False)
    for route in routes:
        pipeline.zcard(keys.slots(route))
        pipeline.zcard(keys.running(route))
        pipeline.hmget(keys.statistics(route), "override", "limit")
    answers = pipeline.execute()
    at_s = f"{time.monotonic():.4f}"
    found = []
    for route, in_flight, runs, limits in zip(routes, answers[0::3], answers[1::3], answers[2::3], strict=True):
        limit = next((int(value) for value in limits if value is not None), 0)
        found.append((at_s, route, in_flight, runs, limit))
    return found


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    main(*sys.argv[1:4])

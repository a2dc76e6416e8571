"""What every part of the benchmark works with: the server, the length of a run, the record of what was run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from benchmarks.redis_server import Server
from benchmarks.statistics import Metric
from benchmarks.testbed import Cost, System
from benchmarks.wrk import Load, load

QUIET = 5
"""Percent of all processors; above it, times are not to be trusted."""
WARM_S = 2.0
LEARN_S = 1.5
"""Longer than the period of everything that is done once a second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk, and what it cost."""

    load: Load
    cost: Cost


@dataclass(slots=True)
class BenchRun:
    """One run of the benchmark; `rounds` of `seconds` each."""

    server: Server
    rounds: int
    seconds: float
    short: bool = False
    runs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Tables that are shown beside the metrics."""
    errors: int = 0
    """Answers other than 200, broken connections and time-outs, over all runs."""
    unanswered: int = 0
    machine: str = ""
    _started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        busy = psutil.cpu_percent(1.0)
        self.machine = f"{self.server.version}, {psutil.cpu_count()} processors, {busy:.0f} % of them busy before"
        if busy > QUIET:
            self.say(f"something else runs here and will disturb this: {busy:.0f} % of the processors are busy")

    def say(self, text: str) -> None:
        """Shows how far it is."""
        print(f"{time.monotonic() - self._started_s:6.0f} s  {text}", file=sys.stderr, flush=True)

    def warm(self, system: System, *paths: str, json_body: str = "") -> None:
        """Lets a fresh system come up to speed."""
        for path in paths:
            load(system.gateway.port, [path], 64, WARM_S / 2 if self.short else WARM_S, json_body=json_body)

    def learn(self, system: System, path: str) -> None:
        """Lets the server be heard under load, so that commands can be counted."""
        with ThreadPoolExecutor(1) as pool:
            busy = pool.submit(load, system.gateway.port, [path], 64, LEARN_S + 1)
            time.sleep(0.5)
            self.server.learn(LEARN_S)
            busy.result()

    def sample(
        self, what: str, at_round: int, system: System, paths: Sequence[str], connections: int, json_body: str = ""
    ) -> Sample:
        """Runs wrk once and notes everything about it."""
        start = system.read()
        ran = load(system.gateway.port, paths, connections, self.seconds, json_body=json_body)
        sample = Sample(ran, system.cost_since(start, ran.requests))
        self.errors += ran.errors
        self.note(what, at_round, connections=connections, per_s=ran.per_s, load=asdict(ran), cost=asdict(sample.cost))
        self.say(
            f"round {at_round + 1}: {what} at {connections}: {ran.per_s:,.0f}/s, p50 {ran.p50_us / 1000:.2f} ms, "
            f"p99 {ran.p99_us / 1000:.1f} ms; {sample.cost}" + (f"; {ran.errors} ERRORS" if ran.errors else "")
        )
        return sample

    def note(self, what: str, at_round: int, **values: Any) -> None:
        """Keeps something for the JSON."""
        self.runs.append({"what": what, "round": at_round + 1, **values})

    def losses(self) -> list[Metric]:
        """Returns what must be nothing, over all parts."""
        return [
            Metric("answers other than 200, socket errors", (float(self.errors),), at_most=0, is_count=True),
            Metric("requests without an answer", (float(self.unanswered),), at_most=0, is_count=True),
        ]


def dearer(name: str, more: Sequence[Cost], less: Sequence[Cost], at_most: float | None = None) -> list[Metric]:
    """Compares processor time per request round by round: all processes together, then each."""
    pairs = list(zip(more, less, strict=True))

    def each(value: Callable[[Cost], float]) -> tuple[float, ...]:
        return tuple(value(m) / value(n) for m, n in pairs)

    return [
        Metric(name, each(lambda cost: cost.total_us), at_most=at_most),
        Metric("   gateway", each(lambda cost: cost.gateway_us)),
        Metric("   worker", each(lambda cost: cost.worker_us)),
        Metric("   Redis", each(lambda cost: cost.redis_us)),
    ]

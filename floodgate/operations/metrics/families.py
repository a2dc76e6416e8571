"""What a metric is, and those that both apps have.

Label values come from declarations and enums, never from a request: what a series
costs must not depend on who asks. Pure; must not know how anything is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TASKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Bounds of histograms. A batch has at most 256 tasks; an empty one is a call for nothing."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: all series of a name. `bounds` are the upper ones of a histogram, without infinity."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Return how many numbers one series has: of a histogram its buckets, each alone, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


PROCESSES = Family("floodgate_processes", "gauge", "Processes of this app behind the scraped address.")
READY = Family("floodgate_processes_ready", "gauge", "Processes that answer /-/ready with 200.")
CPU_SECONDS = Family(
    "floodgate_cpu_seconds_total", "counter", "Processor time, user and system, of the app's processes."
)
LOOP_LAG = Family(
    "floodgate_loop_lag_seconds",
    "histogram",
    "How late the event loop wakes a sleeper: time that every request waits.",
    (),
    SECONDS,
)
BATCH_TASKS = Family("floodgate_batch_tasks", "histogram", "Tasks or replies per call of Redis.", ("call",), TASKS)
CALL_SECONDS = Family(
    "floodgate_redis_call_seconds", "histogram", "From sending a call to its reply read.", ("call",), SECONDS
)
CALL_FAILURES = Family(
    "floodgate_redis_call_failures_total",
    "counter",
    "Calls without a usable reply; complete, renew and reap are tried again.",
    ("call",),
)
CONNECTS = Family(
    "floodgate_redis_connects_total", "counter", "Connections opened, the first one included.", ("connection",)
)
EVICTS = Family(
    "floodgate_redis_evicts", "gauge", "Processes whose Redis throws keys away when it is full: answers get lost."
)
REAPED = Family(
    "floodgate_reaped_total",
    "counter",
    "What this app's turns of reap mended: leases that ended, tasks past their deadline, strays, garbage.",
    ("what",),
)

"""What a process counts: counters, gauges and histograms as plain objects, and the metrics that both apps have.

Label values come from declarations and enums, never from a request, so the number of
series does not depend on who asks. Must not know where the numbers are kept or shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Literal, TypeVar

Labels = tuple[str, ...]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TASKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Bounds of histograms. A batch has at most 256 tasks; a call that carried none has a bucket of its own."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Describes all series of one name; `bounds` are the upper bounds of a histogram, without infinity."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()

    def counts_as(self, other: Metric) -> bool:
        """Tell whether the numbers of both may be added up; help texts may differ."""
        return self.kind == other.kind and self.labels == other.labels and self.bounds == other.bounds

    @property
    def width(self) -> int:
        """Return how many numbers a series has; of a histogram its buckets, each by itself, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Counter:
    """Counts up. `value` is assigned where the count is kept elsewhere in the process."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, count: float = 1) -> None:
        self.value += count

    def numbers(self) -> list[float]:
        return [self.value]


class Gauge:
    """Holds a value that goes up and down; those of several living processes are added up."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def numbers(self) -> list[float]:
        return [self.value]


class Histogram:
    """Counts values in buckets; code that runs for every request adds to `counts` and `sum` itself."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def numbers(self) -> list[float]:
        return [*self.counts, self.sum]


Series = TypeVar("Series", Counter, Gauge, Histogram)


class Metrics:
    """Holds the series of one process. All are named when the app starts, so that each is shown from 0 on."""

    def __init__(self) -> None:
        self.series: dict[tuple[Metric, Labels], Counter | Gauge | Histogram] = {}

    def counter(self, metric: Metric, *labels: str) -> Counter:
        return self._put(metric, labels, Counter())

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        return self._put(metric, labels, Gauge())

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        return self._put(metric, labels, Histogram(metric.bounds))

    def _put(self, metric: Metric, labels: Labels, series: Series) -> Series:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, and was given {labels}")
        found = self.series.setdefault((metric, labels), series)
        assert isinstance(found, type(series))
        return found

    def snapshot(self) -> Snapshot:
        """Return all numbers as they are now."""
        found = Snapshot()
        for (metric, labels), series in self.series.items():
            found.put(metric, labels, series.numbers())
        return found


@dataclass(slots=True)
class Snapshot:
    """Holds the numbers of one process, or the sums over several, by metric and labels."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    series: dict[str, dict[Labels, list[float]]] = field(default_factory=dict)

    def put(self, metric: Metric, labels: Labels, numbers: Sequence[float]) -> None:
        """Add numbers to a series.

        Left out where another release counts that metric in another form: its labels or
        buckets mean something else.
        """
        name = metric.name
        known = self.metrics.get(name)
        if known is None:
            known, self.metrics[name], self.series[name] = metric, metric, {}
        if known is not metric and not known.counts_as(metric):
            return
        series = self.series[name]
        before = series.get(labels)
        series[labels] = [*numbers] if before is None else [*map(add, before, numbers)]

    def add(self, other: Snapshot) -> None:
        """Add the numbers of another one."""
        for name, series in other.series.items():
            for labels, numbers in series.items():
                self.put(other.metrics[name], labels, numbers)

    def numbers(self, metric: Metric, *labels: str) -> list[float]:
        """Return the numbers of a series; zeros where there is none."""
        return self.series.get(metric.name, {}).get(labels, [0] * metric.width)


PROCESSES = Metric("floodgate_processes", "gauge", "Processes of this app behind the scraped address.")
READY = Metric("floodgate_processes_ready", "gauge", "Processes that answer /-/ready with 200.")
CPU_SECONDS = Metric(
    "floodgate_cpu_seconds_total", "counter", "Processor time, user and system, of the app's processes."
)
LOOP_LAG = Metric(
    "floodgate_loop_lag_seconds",
    "histogram",
    "How late the event loop wakes a sleeper: time that every request waits.",
    (),
    SECONDS,
)
BATCH_TASKS = Metric("floodgate_batch_tasks", "histogram", "Tasks or replies per call of Redis.", ("call",), TASKS)
CALL_SECONDS = Metric(
    "floodgate_redis_call_seconds", "histogram", "From sending a call to its reply read.", ("call",), SECONDS
)
CALL_FAILURES = Metric(
    "floodgate_redis_call_failures_total",
    "counter",
    "Calls without a usable reply; complete, renew and reap are tried again.",
    ("call",),
)
CONNECTS = Metric(
    "floodgate_redis_connects_total", "counter", "Connections opened, the first one included.", ("connection",)
)
EVICTS = Metric(
    "floodgate_redis_evicts", "gauge", "Processes whose Redis evicts keys when it is full: answers get lost."
)
REAPED = Metric(
    "floodgate_reaped_total",
    "counter",
    "What this app's calls of reap and repair found: ended leases, tasks past their deadline, orphans, malformed data.",
    ("what",),
)

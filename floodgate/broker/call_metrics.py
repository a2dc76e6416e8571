"""What both apps count of their calls of Redis: how long they take, how many tasks they carry, how often they fail."""

from __future__ import annotations

from floodgate.broker.commands import ReapReply
from floodgate.operations.metrics import BATCH_TASKS, CALL_FAILURES, CALL_SECONDS, CONNECTS, REAPED, Metrics


class Calls:
    """Counts one kind of call."""

    __slots__ = ("_failures", "_seconds", "_tasks")

    def __init__(self, metrics: Metrics, call: str) -> None:
        self._seconds = metrics.histogram(CALL_SECONDS, call)
        self._failures = metrics.counter(CALL_FAILURES, call)
        self._tasks = metrics.histogram(BATCH_TASKS, call)

    def answered(self, seconds: float, tasks: int) -> None:
        """Count a call that was waited for."""
        self._seconds.observe(seconds)
        self._tasks.observe(tasks)

    def brought(self, tasks: int) -> None:
        """Count the reply of a call that is parked until there is work; how long it was parked says nothing."""
        self._tasks.observe(tasks)

    def failed(self) -> None:
        self._failures.add()


class Connects:
    """Counts opened connections by what they are for."""

    def __init__(self, metrics: Metrics, *names: str) -> None:
        self._counters = {name: metrics.counter(CONNECTS, name) for name in names}

    def opened(self, name: str) -> None:
        self._counters[name].add()


class Reaps:
    """Counts what this process's calls of `reap` and `repair` found."""

    def __init__(self, metrics: Metrics) -> None:
        self._counters = {what: metrics.counter(REAPED, what) for what in ("lease", "expired", "orphan", "malformed")}
        self._failures = metrics.counter(CALL_FAILURES, "reap")

    def done(self, reply: ReapReply) -> None:
        counts = (reply.ended, reply.expired, reply.orphans, reply.malformed)
        for what, count in zip(self._counters, counts, strict=True):
            if count:
                self._counters[what].add(count)

    def repaired(self, keys: int) -> None:
        self._counters["malformed"].add(keys)

    def failed(self) -> None:
        self._failures.add()

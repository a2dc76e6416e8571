"""Calls of Redis: how long they take, how many tasks they carry, how often they fail."""

from __future__ import annotations

from floodgate.broker.commands import ReapReply
from floodgate.operations.metrics.families import BATCH_TASKS, CALL_FAILURES, CALL_SECONDS, CONNECTS, REAPED
from floodgate.operations.metrics.ledger import Ledger


class Calls:
    """The series of one kind of call."""

    __slots__ = ("_failures", "_seconds", "_tasks")

    def __init__(self, ledger: Ledger, call: str) -> None:
        self._seconds = ledger.histogram(CALL_SECONDS, call)
        self._failures = ledger.counter(CALL_FAILURES, call)
        self._tasks = ledger.histogram(BATCH_TASKS, call)

    def answered(self, seconds: float, tasks: int) -> None:
        """Note a call that was waited for."""
        self._seconds.observe(seconds)
        self._tasks.observe(tasks)

    def brought(self, tasks: int) -> None:
        """Note what a call brought that is parked until there is something: its time says nothing."""
        self._tasks.observe(tasks)

    def failed(self) -> None:
        self._failures.add()


class Connects:
    """Connections that were opened, by what they are for."""

    def __init__(self, ledger: Ledger, *names: str) -> None:
        self._counters = {name: ledger.counter(CONNECTS, name) for name in names}

    def opened(self, name: str) -> None:
        self._counters[name].add()


class Reaps:
    """What this process's turns of `reap` found."""

    def __init__(self, ledger: Ledger) -> None:
        self._counters = {what: ledger.counter(REAPED, what) for what in ("lease", "expired", "stray", "garbage")}
        self._failures = ledger.counter(CALL_FAILURES, "reap")

    def done(self, reply: ReapReply) -> None:
        counts = (reply.ended, reply.expired, reply.orphans, reply.malformed)
        for what, count in zip(self._counters, counts, strict=True):
            if count:
                self._counters[what].add(count)

    def failed(self) -> None:
        self._failures.add()

"""Whole loads on the real scripts in simulated time: what was let in, and what of it came too late.

Owns gateway and workers as far as their order of calls goes: admissions in batches, claims by whoever has room
when a lane's marker lies, completions, deadlines, renewals and a reap every second. Judges nothing itself.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from floodgate.broker import commands as calls
from floodgate.broker.stream_commands import Emission, emit
from tests.engine.queueing import START_MS, Queue

STEP_MS = 5
"""Arrivals are admitted in batches, as a gateway sends them."""
SECOND_MS = 1000


@dataclass(slots=True)
class Arrival:
    """One request, and what became of it; `at_ms` is since the start."""

    at_ms: float
    route: str
    lane: str
    run_ms: float
    budget_ms: int
    failed: bool = False
    head_ms: float | None = None
    """Of a stream: after so long of its run it has its head, which is what has to come in time."""
    begun: bool = False
    code: int | None = None
    done_ms: float | None = None

    @property
    def admitted(self) -> bool:
        return self.code == 0

    @property
    def late(self) -> bool:
        return self.admitted and (self.done_ms is None or self.done_ms > self.at_ms + self.budget_ms)


@dataclass(slots=True)
class Consumer:
    """The consumer of one worker."""

    name: str
    lanes: Sequence[str]
    runs: dict[str, Arrival] = field(default_factory=dict)
    """By lease."""

    @property
    def room(self) -> int:
        return int(self.name.rpartition(".")[2]) - len(self.runs)


def poisson(seed: int, per_s: float, from_ms: float, seconds: float) -> Iterable[float]:
    """Return moments of arrival."""
    chance, at_ms = random.Random(seed), from_ms
    while (at_ms := at_ms + chance.expovariate(per_s) * SECOND_MS) < from_ms + seconds * SECOND_MS:
        yield at_ms


def late_share(arrivals: Sequence[Arrival]) -> float:
    admitted = [arrival for arrival in arrivals if arrival.admitted]
    return sum(arrival.late for arrival in admitted) / max(1, len(admitted))


class Simulation:
    """One pool of consumers under a load; `run` returns when everything has ended."""

    def __init__(self, queue: Queue, consumers: Sequence[Consumer]) -> None:
        self.queue, self.consumers = queue, consumers
        self._order, self._serials = itertools.count(), itertools.count(1)
        self._events: list[tuple[float, int, str, object]] = []
        self._open: dict[str, Arrival] = {}
        self._number = itertools.count()

    def run(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self._add(arrival.at_ms, "arrive", arrival)
        left = len(arrivals)
        self._add(0, "second", None)
        while self._events and (left or self._open):
            at_ms = self._events[0][0]
            due: dict[str, list[object]] = {"second": [], "head": [], "end": [], "expire": [], "arrive": []}
            while self._events and self._events[0][0] <= at_ms:
                _, _, name, what = heapq.heappop(self._events)
                due[name].append(what)
            self.queue.advance(START_MS + round(at_ms) - self.queue.now_ms)
            if due["second"]:
                self._second(at_ms)
            self._begin(at_ms, [what for what in due["head"] if isinstance(what, tuple)])
            self._end(at_ms, [what for what in due["end"] if isinstance(what, tuple)])
            gone = [str(id) for id in due["expire"] if id in self._open]
            if gone:
                self.queue.cancel(*gone)
            for id in gone:
                del self._open[id]
            self._arrive(at_ms, [what for what in due["arrive"] if isinstance(what, Arrival)])
            left -= len(due["arrive"])
            self._claim(at_ms)

    def _add(self, at_ms: float, name: str, what: object) -> None:
        at_ms = -(-at_ms // STEP_MS) * STEP_MS
        heapq.heappush(self._events, (at_ms, next(self._order), name, what))

    def _second(self, at_ms: float) -> None:
        for consumer in self.consumers:
            self.queue.register(consumer.name, lanes=consumer.lanes, leases=list(consumer.runs))
        self.queue.reap()
        self._add(at_ms + SECOND_MS, "second", None)

    def _arrive(self, at_ms: float, arrivals: Sequence[Arrival]) -> None:
        for at in range(0, len(arrivals), calls.MAX_BATCH):
            batch = arrivals[at : at + calls.MAX_BATCH]
            asked = [
                self.queue.request(str(next(self._number)), route=a.route, lane=a.lane, budget_ms=a.budget_ms)
                for a in batch
            ]
            for arrival, request, result in zip(batch, asked, self.queue.ask(*asked).results, strict=True):
                arrival.code = int(result.code)
                if arrival.admitted:
                    self._open[request.id] = arrival
                    self._add(at_ms + arrival.budget_ms, "expire", request.id)

    def _claim(self, at_ms: float) -> None:
        woken = True
        while woken:
            woken = False
            for consumer in self.consumers:
                if consumer.room > 0 and any(self.queue.take_marker(lane) for lane in consumer.lanes):
                    woken = True
                    serial = next(self._serials)
                    reply = self.queue.claim(serial, consumer=consumer.name, free=consumer.room, lanes=consumer.lanes)
                    for task in reply.tasks:
                        arrival, lease = self._open.get(task.id), f"{consumer.name}#{serial}#{task.id}"
                        assert arrival is not None
                        consumer.runs[lease] = arrival
                        if arrival.head_ms is not None:
                            self._add(at_ms + arrival.head_ms, "head", (consumer, lease))
                        self._add(at_ms + arrival.run_ms, "end", (consumer, lease))

    def _begin(self, at_ms: float, begun: Sequence[tuple[Consumer, str]]) -> None:
        """Send the heads of streams; one that nobody waits for any more ends here."""
        parts = []
        for consumer, lease in begun:
            arrival, id = consumer.runs[lease], lease.rpartition("#")[2]
            if self._open.pop(id, None) is None:
                del consumer.runs[lease]
                self.queue.complete(lease, run_ms=round(arrival.head_ms or 0), sample=False)
                continue
            arrival.done_ms, arrival.begun = at_ms, True
            until_ms = self.queue.now_ms + round(10 * arrival.run_ms)
            parts.append(Emission(lease, id, arrival.route, "box", until_ms, round(arrival.head_ms or 0), b"part"))
        for at in range(0, len(parts), calls.MAX_BATCH):
            self.queue.send(emit(self.queue.keys, parts[at : at + calls.MAX_BATCH]))

    def _end(self, at_ms: float, ended: Sequence[tuple[Consumer, str]]) -> None:
        reports = []
        for consumer, lease in ended:
            if lease not in consumer.runs:  # a stream that nobody waited for
                continue
            arrival, id = consumer.runs.pop(lease), lease.rpartition("#")[2]
            in_time = arrival.begun or id in self._open
            if self._open.pop(id, None) is not None:
                arrival.done_ms = at_ms
            reports.append(
                self.queue.report(
                    lease,
                    run_ms=round(arrival.run_ms),
                    in_time=in_time,
                    failed=arrival.failed,
                    streamed=arrival.begun,
                )
            )
        for at in range(0, len(reports), calls.MAX_BATCH):
            self.queue.report_all(*reports[at : at + calls.MAX_BATCH])

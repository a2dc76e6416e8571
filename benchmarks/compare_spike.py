"""The spike, put on one system at a time: what is offered, what came back, what that comes to.

Owns the phases and the words for them. Must not know which of the two systems is
behind the port, or how a spike is drawn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import records
from benchmarks.arrivals import Request, Stream, arrivals
from benchmarks.handlers.compare import TIMEOUT_S
from benchmarks.openloop import generator
from benchmarks.overload_judging import Soundness
from benchmarks.overload_measuring import in_time, refused
from floodgate.peak.statistics import percentile, share

BASE_PER_S = 40.0
"""Half of what the database can answer at its best."""
SPIKE_PER_S = 200.0
SEED = 1
LEAD_S = 0.5
PATIENCE_S = 1.0
"""Beyond the time-out: then a client has left without an answer."""
SETTLE_S = 2.0
"""After each change of load, what does not count in the figures; the picture shows it."""
TAIL_S = 3.0
"""The load goes on for so long after what is shown: its end would look like a recovery."""
ROWS = "requests.csv"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each part is, in s."""

    before_s: float = 10.0
    spike_s: float = 10.0
    after_s: float = 20.0

    @property
    def end_s(self) -> float:
        return self.before_s + self.spike_s + self.after_s

    @property
    def phases(self) -> tuple[tuple[str, float, float, float], ...]:
        """Return name, begin, end and offered rate of each."""
        spike_s, back_s = self.before_s, self.before_s + self.spike_s
        return (
            ("before", 0.0, spike_s, BASE_PER_S),
            ("spike", spike_s, back_s, SPIKE_PER_S),
            ("after", back_s, self.end_s, BASE_PER_S),
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one phase; latencies are in s, of what was neither refused nor unanswered."""

    phase: str
    offered_per_s: float
    goodput_per_s: float
    refused_per_s: float
    failed_per_s: float
    p50_s: float
    p99_s: float
    refusal_p99_s: float


async def spike(port: int, timing: Timing, file: Path) -> tuple[list[Request], Soundness]:
    """Put the spike on a port; return its requests, with times from the start, and how soundly they were sent."""
    streams = [
        Stream(name, "/report", per_s, begin_s, end_s - begin_s) for name, begin_s, end_s, per_s in timing.phases
    ]
    streams.append(Stream("tail", "/report", BASE_PER_S, timing.end_s, TAIL_S))
    planned = arrivals(streams, SEED)
    async with generator("127.0.0.1", port, TIMEOUT_S + PATIENCE_S) as opened:
        start_s, used_s = time.monotonic() + LEAD_S, time.process_time()
        await opened.run(planned, start_s)
        busy = share(time.process_time() - used_s, time.monotonic() - start_s)
    lag_s = percentile((request.lag_s for request in planned), 0.99)
    sent = sum(request.sent_s == request.sent_s for request in planned)
    records.write(file, planned, start_s)
    requests, _ = records.read(file)
    return requests, Soundness(file.parent.name, share(sent, len(planned)), lag_s, busy)


def figures(requests: Sequence[Request], timing: Timing) -> list[Figures]:
    """Return the figures of each phase, without its first moments; goodput counts by the time of the answer."""
    found = []
    for name, start_s, end_s, _ in timing.phases:
        begin_s = start_s + min(SETTLE_S, (end_s - start_s) / 4)
        seconds = end_s - begin_s
        asked = [request for request in requests if begin_s <= request.intended_s < end_s]
        good = sum(begin_s <= r.done_s < end_s for r in requests if in_time(r, TIMEOUT_S))
        away = [request.latency_s for request in asked if refused(request)]
        answered = [r.latency_s for r in asked if not refused(r) and r.status]
        failed = sum(not refused(request) and not in_time(request, TIMEOUT_S) for request in asked)
        found.append(
            Figures(
                name,
                len(asked) / seconds,
                good / seconds,
                len(away) / seconds,
                failed / seconds,
                percentile(answered, 0.5),
                percentile(answered, 0.99),
                percentile(away, 0.99),
            )
        )
    return found

"""What a run shows while it goes on: a line every few seconds.

Owns the line. Reads what the senders have written down so far; costs them nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from floodgate.peak import thresholds
from floodgate.peak.plan import FILE, Plan
from floodgate.peak.records import Row, Tail, read_asked
from floodgate.peak.result import THRESHOLDS
from floodgate.peak.sampling import QueueSample
from floodgate.peak.statistics import Outcome, percentile

LINES = 15
LEAST_S = 2.0


class Progress:
    """Of the run in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._plan = Plan.read(directory / FILE)
        self._wanted = thresholds.load(directory / THRESHOLDS)
        self._tail = Tail(directory)
        self._every_s = max(LEAST_S, self._plan.seconds / LINES)
        self._began_s = self._told_s = time.time()
        self._rows: list[Row] = []

    def line(self, cores: Mapping[str, float], samples: Sequence[QueueSample]) -> str | None:
        """Returns a line when it is time for one and something was sent."""
        now_s = time.time()
        self._rows += self._tail.new()
        seconds = now_s - self._told_s
        if seconds < self._every_s or not self._rows:
            return None
        rows, self._rows, self._told_s = self._rows, [], now_s
        count = Counter(self._wanted.of(row.route).rule.outcome(row) for row in rows)
        asked = read_asked(self._directory)
        per_s = asked[-1].users / self._plan.period_s if asked else 0.0
        p99_ms = percentile((row.latency_s for row in rows if row.status), 0.99) * 1000
        text = (
            f"{now_s - self._began_s:5.0f} s  asked {per_s:6.1f}/s  answered {len(rows) / seconds:6.1f}/s: "
            f"in time {count[Outcome.GOOD] / seconds:6.1f}, refused {count[Outcome.REFUSED] / seconds:6.1f}, "
            f"late {count[Outcome.LATE]}, errors {count[Outcome.ERROR]}, p99 {p99_ms:.0f} ms"
        )
        if samples:
            waiting, running = (sum(getattr(each, name) for each in samples) for name in ("waiting", "running"))
            text += f"; {waiting:.0f} wait, {running:.0f} run"
        if cores:
            text += "; cores: " + ", ".join(f"{name} {used:.2f}" for name, used in sorted(cores.items()))
        return text

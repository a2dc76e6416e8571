"""The profiles and their blocks: what is offered when, and what has to come of it.

Owns rates, deadlines, the order of phases, and the goals of each profile. Pure;
must not know how a load is sent or a figure measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.arrivals import Stream

SAT = 1.3
"""What a saturating phase offers: enough to keep every place busy, little enough to be no peak."""
PEAKS = (2.0, 5.0, 10.0, 0.5)
OVERLOADS = (2.0, 5.0, 10.0)
PROBE_PER_S = 40.0
"""No-op requests beside the load, at a constant small rate: what a refusal is compared with."""
PATIENCE_S = 1.0
"""Beyond the deadline: a client of the measurement waits for the late answer too, to count it."""


@dataclass(frozen=True, slots=True)
class Goals:
    """Of one profile; a figure without a goal is reported only."""

    goodput: Mapping[float, float] = field(default_factory=dict)
    """By factor of overload."""
    late: float | None = None
    p99: float | None = None
    """Of the admitted, as a share of the deadline."""
    flat_p99: float | None = None
    """How much the p99 of the admitted may grow from 2× to 10×."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One handler with its capacity. `sat_spread`: how much a block's saturating phases may differ."""

    name: str
    per_s: float
    deadline_s: float
    goals: Goals
    env: Mapping[str, str] = field(default_factory=dict)
    sat_spread: float = 0.03
    database: bool = False
    workers_alone: bool = False
    """Workers alone on core 0: for handlers that compute."""

    @property
    def handlers(self) -> str:
        return f"loadtest.overload_handlers.{self.name}"


PLACES = {"FLOODGATE_WORKER_CONCURRENCY": "16"}
THREADS = {"FLOODGATE_WORKER_THREADS": "4"}
"""Of handlers that compute: one interpreter runs one at a time, and each further one keeps its loop waiting."""
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("p1", 80, 2, Goals({2: 0.98, 5: 0.98, 10: 0.97}, 0.001, 0.45, 0.05), PLACES),
        Profile("p2", 80, 5, Goals({2: 0.95, 5: 0.94, 10: 0.92}, 0.002, 0.6), PLACES, sat_spread=0.06),
        Profile("p3", 80, 2, Goals({2: 0.95, 5: 0.95, 10: 0.95}, 0.001), database=True),
        Profile("p4", 50, 2, Goals({2: 0.95}), THREADS, workers_alone=True),
    )
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long: `blocks` of phases of `phase_s`, whose first `skip_s` do not count."""

    blocks: int = 5
    phase_s: float = 20.0
    skip_s: float = 4.0


SHORT = Timing(blocks=1, phase_s=2.0, skip_s=0.5)


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of constant load; times are from the start of the run. The closing one belongs to no block."""

    index: int
    block: int
    factor: float
    start_s: float
    end_s: float
    skip_s: float

    @property
    def label(self) -> str:
        return "sat" if self.factor == SAT else f"{self.factor:g}×"

    @property
    def counted_s(self) -> tuple[float, float]:
        return self.start_s + self.skip_s, self.end_s


def plan(timing: Timing) -> list[Phase]:
    """Return the phases of all blocks: a saturating one before and after each peak, the peaks in rotated order."""
    factors: list[tuple[int, float]] = []
    for block in range(timing.blocks):
        turn = block % len(PEAKS)
        for peak in (*PEAKS[turn:], *PEAKS[:turn]):
            factors += [(block, SAT), (block, peak)]
    factors.append((timing.blocks, SAT))
    starts = itertools.count(0, timing.phase_s)
    return [
        Phase(index, block, factor, start_s, start_s + timing.phase_s, timing.skip_s)
        for index, ((block, factor), start_s) in enumerate(zip(factors, starts, strict=False))
    ]


def streams(profile: Profile, phases: Sequence[Phase], paths: Sequence[str]) -> list[Stream]:
    """Return the load of all phases, shared equally over `paths`, and the probes beside it."""
    found = []
    for phase in phases:
        seconds = phase.end_s - phase.start_s
        for path in paths:
            per_s = profile.per_s * phase.factor / len(paths)
            found.append(Stream("load", path, per_s, phase.start_s, seconds, phase.index))
        found.append(Stream("probe", "/noop", PROBE_PER_S, phase.start_s, seconds, phase.index))
    return found

"""One task in work, and the table of how its run may end.

The table is the specification: a pair that is not in it changes nothing. Does no
I/O; must not know Redis, threads or how a handler is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from floodgate.broker.envelopes import Task, TaskReply
from floodgate.declare.context import Context


class Phase(Enum):
    """What a run has come to; what is reported at its end follows from it alone."""

    CREATED = auto()
    """Its handler was not called yet."""
    RUNNING = auto()
    """Whatever the handler returns or raises is the answer."""
    EXPIRED = auto()
    """Its time is used up: expired, whatever the handler still does."""
    STOPPED = auto()
    """Nobody waits any more: no answer, and no sample of how long the route takes."""
    RELEASED = auto()
    """Given back to the queue: its end is not reported at all."""


class Event(Enum):
    """What happens to a run from outside."""

    BEGIN = auto()
    DEADLINE = auto()
    STOP = auto()
    RELEASE = auto()


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.CREATED, Event.BEGIN): Phase.RUNNING,
    (Phase.CREATED, Event.DEADLINE): Phase.EXPIRED,
    (Phase.CREATED, Event.STOP): Phase.STOPPED,
    (Phase.CREATED, Event.RELEASE): Phase.RELEASED,
    (Phase.RUNNING, Event.DEADLINE): Phase.EXPIRED,
    (Phase.RUNNING, Event.STOP): Phase.STOPPED,
    (Phase.RUNNING, Event.RELEASE): Phase.RELEASED,
    (Phase.EXPIRED, Event.STOP): Phase.STOPPED,
    (Phase.EXPIRED, Event.RELEASE): Phase.RELEASED,
    (Phase.STOPPED, Event.RELEASE): Phase.RELEASED,
}


@dataclass(slots=True)
class Run:
    """One task in work."""

    lease: str
    task_id: str
    task: Task
    context: Context
    left_s: float
    """Budget at the start."""
    work: asyncio.Task[None] | None = None
    phase: Phase = Phase.CREATED
    started_s: float = field(default_factory=time.monotonic)

    def move(self, event: Event) -> bool:
        """Make a transition; tell whether the handler runs and must hear now that it is to end.

        True at most once per run: a second cancellation would cut the handler's clean-up short.
        """
        before = self.phase
        self.phase = TRANSITIONS.get((before, event), before)
        if event is not Event.BEGIN:
            self.context.cancel()
        return before is Phase.RUNNING and self.phase is not before


@dataclass(frozen=True, slots=True)
class Ended:
    """What `complete` needs to know of a run."""

    run: Run
    reply: TaskReply
    run_ms: int
    in_time: bool

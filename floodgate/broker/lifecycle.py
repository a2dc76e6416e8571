"""The states of a task, the transitions between them, and the scripts' codes.

The table is the specification: `tests/engine/unit/test_lifecycle.py` walks it, and the
script tests drive every row. Pure; knows neither Redis nor the scripts' text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where a task is; NONE is before its admission."""

    NONE = "none"
    WAITING = "waiting"
    PARKED = "parked"
    """Held back by `max_running`."""
    STRANDED = "stranded"
    """A 202 whose lane nobody serves any more."""
    RUNNING = "running"
    STRAY = "stray"
    """In `slots` only: a crash or a loss of data left it."""
    DONE = "done"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"
    DROPPED = "dropped"
    """Never started, since its gateway is gone."""


FINAL = frozenset({State.DONE, State.EXPIRED, State.CANCELLED, State.LOST, State.DROPPED})


class Slot(IntEnum):
    """What a transition does to the task's slot."""

    TAKEN = 1
    KEPT = 0
    FREED = -1


class Answer(StrEnum):
    """Who answers the waiting client at a transition."""

    NONE = "none"
    HANDLER = "handler"
    EXPIRED = "expired"
    LOST = "lost"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Transition:
    """One arrow: which scripts make it, and what becomes of slot and answer."""

    before: State
    after: State
    scripts: frozenset[str]
    slot: Slot
    answer: Answer = Answer.NONE


def _row(before: State, after: State, scripts: str, slot: Slot, answer: Answer = Answer.NONE) -> Transition:
    return Transition(before, after, frozenset(scripts.split()), slot, answer)


TRANSITIONS = (
    _row(State.NONE, State.WAITING, "admit", Slot.TAKEN),
    _row(State.NONE, State.PARKED, "admit", Slot.TAKEN),
    _row(State.PARKED, State.WAITING, "claim complete cancel release join reap", Slot.KEPT),
    _row(State.PARKED, State.STRANDED, "claim complete cancel release join reap", Slot.KEPT),
    _row(State.WAITING, State.STRANDED, "reap", Slot.KEPT),
    _row(State.STRANDED, State.PARKED, "reap", Slot.KEPT),
    _row(State.STRANDED, State.EXPIRED, "reap", Slot.FREED, Answer.EXPIRED),
    _row(State.STRANDED, State.CANCELLED, "cancel", Slot.FREED),
    _row(State.WAITING, State.RUNNING, "claim", Slot.KEPT),
    _row(State.WAITING, State.EXPIRED, "claim reap", Slot.FREED, Answer.EXPIRED),
    _row(State.PARKED, State.EXPIRED, "reap", Slot.FREED, Answer.EXPIRED),
    _row(State.WAITING, State.DROPPED, "claim reap", Slot.FREED, Answer.DROPPED),
    _row(State.PARKED, State.DROPPED, "reap", Slot.FREED, Answer.DROPPED),
    _row(State.WAITING, State.CANCELLED, "cancel", Slot.FREED),
    _row(State.PARKED, State.CANCELLED, "cancel", Slot.FREED),
    _row(State.RUNNING, State.DONE, "complete", Slot.FREED, Answer.HANDLER),
    _row(State.RUNNING, State.WAITING, "join release reap", Slot.KEPT),
    _row(State.RUNNING, State.LOST, "join release reap", Slot.FREED, Answer.LOST),
    _row(State.RUNNING, State.EXPIRED, "join release reap", Slot.FREED, Answer.EXPIRED),
    _row(State.RUNNING, State.CANCELLED, "complete join release reap", Slot.FREED),
    _row(State.STRAY, State.LOST, "reap", Slot.FREED, Answer.LOST),
)


def allowed(before: State, after: State, script: str) -> bool:
    """Tell whether `script` may take a task from `before` to `after`."""
    return any(t.before is before and t.after is after and script in t.scripts for t in TRANSITIONS)


class AdmitCode(IntEnum):
    """What `admit` says to one request."""

    ADMITTED = 0
    PAUSED = 1
    NO_WORKER = 2
    LATE = 3
    FULL = 4
    SHARE = 5
    """The tenant holds its share of the slots."""


class Progress(IntEnum):
    """What `look` says of one id."""

    UNKNOWN = 0
    WAITING = 1
    RUNNING = 2
    ENDED = 3


class CancelCode(IntEnum):
    """What `cancel` says of one id."""

    UNKNOWN = 0
    REMOVED = 1
    """Before it ran: its slot is free, it may be admitted again elsewhere."""
    TOLD = 2
    """It runs: marked, and its worker told."""
    REMOVED_AFTER_A_TRY = 3
    """Before it ran again: it may have had an effect."""

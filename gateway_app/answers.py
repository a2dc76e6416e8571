"""What becomes of a request, before HTTP has a word for it; and the request while it waits. Pure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from shared.context import Caller
from shared.queue.messages import Headers, TaskReply
from shared.registry import Handler


class Trouble(StrEnum):
    """Why there is no answer from a handler."""

    FULL = "full"
    PAUSED = "paused"
    NO_WORKER = "no worker"
    TOO_LATE = "too late"
    UNAVAILABLE = "unavailable"
    """Redis does not answer, or the task is certain not to run."""
    UNKNOWN = "outcome unknown"
    """It may have run, and its reply was lost."""
    LATE = "late"
    LOST = "lost"
    FAILED = "failed"
    LEFT = "client left"


@dataclass(frozen=True, slots=True)
class Answer:
    """A handler's reply, or the trouble; `retry_after_s` goes with a refusal."""

    reply: TaskReply | None = None
    trouble: Trouble | None = None
    retry_after_s: float = 0

    @property
    def outcome(self) -> str:
        return self.trouble.value if self.trouble else "done"


class Stage(Enum):
    """How far a request has come: cancelling it means something else at each."""

    LOCAL = auto()
    SENT = auto()
    ADMITTED = auto()


@dataclass(frozen=True, slots=True)
class Draft:
    """A request's raw arguments, as they came."""

    request_id: str
    path: dict[str, str] = field(default_factory=dict)
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    caller: Caller | None = None
    level: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """One waiting request; times are of the own monotonic clock, in s."""

    id: str
    handler: Handler
    draft: Draft
    answer: asyncio.Future[Answer]
    arrived_s: float
    deadline_s: float
    budget_ms: int
    asked_s: float
    """When it was sent, or last asked after."""
    lane: str = ""
    stage: Stage = Stage.LOCAL
    withdrawn: bool = False
    """Nobody waits any more."""

    def settle(self, answer: Answer) -> None:
        """Answer, unless it is answered already."""
        if not self.answer.done():
            self.answer.set_result(answer)


def lost(entry: Entry) -> Answer:
    """Return the answer when nobody can say whether the task ran: it may be sent again where that is harmless."""
    return Answer(trouble=Trouble.UNAVAILABLE if entry.handler.idempotent else Trouble.UNKNOWN)

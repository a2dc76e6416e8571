"""What becomes of a request, before HTTP has a word for it; and the request while it waits. Pure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from floodgate.broker.envelopes import Headers, TaskReply
from floodgate.declare.context import Caller
from floodgate.declare.head import UNDECLARED_SHARE, UNDECLARED_WEIGHT
from floodgate.declare.registry import Handler


class Failure(StrEnum):
    """Why there is no answer from a handler."""

    RATE = "rate"
    SHARE = "share"
    FULL = "full"
    PAUSED = "paused"
    NO_WORKER = "no worker"
    TOO_LATE = "too late"
    RESULTS_FULL = "results full"
    """A 202 whose result could not be kept."""
    UNAVAILABLE = "unavailable"
    """Redis does not answer, or the task is certain not to run."""
    UNKNOWN = "outcome unknown"
    """It may have run, and its reply was lost."""
    LATE = "late"
    LOST = "lost"
    FAILED = "failed"
    LEFT = "client left"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A handler's reply, or the trouble; `retry_after_s` goes with a refusal."""

    reply: TaskReply | None = None
    failure: Failure | None = None
    retry_after_s: float = 0
    predicted_ms: int = 0
    """How long the task was expected to wait, when it was admitted."""
    accepted: str | None = None
    """The id under which a task goes on that nobody waits for."""
    kept: bool = False
    """It has ended meanwhile: its answer can be fetched."""

    @property
    def outcome(self) -> str:
        return self.failure.value if self.failure else "done" if self.accepted is None else "accepted"


class Stage(Enum):
    """How far a request has come: cancelling it means something else at each."""

    LOCAL = auto()
    SENT = auto()
    UNANSWERED = auto()
    """Sent, and the call has ended without an answer: it may have been admitted."""
    ADMITTED = auto()


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request may ask of the door, known from its head."""

    budget_ms: int
    """Until nobody waits any more."""
    whole: bool = True
    """It has all the time that its route gives; only such a refusal says something of others."""
    weight: int = UNDECLARED_WEIGHT
    share: int = UNDECLARED_SHARE
    tenant: str = ""
    async_response: bool = False
    """`Prefer: respond-async`: nobody waits on the connection for longer than `patience_s`."""
    patience_s: float = 0

    @property
    def asks_always(self) -> bool:
        """Tell whether it is never refused from memory."""
        return self.share == UNDECLARED_SHARE and self.weight != UNDECLARED_WEIGHT


@dataclass(frozen=True, slots=True)
class Payload:
    """A request's raw arguments, as they came."""

    request_id: str
    options: RequestOptions
    path: dict[str, str] = field(default_factory=dict)
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    caller: Caller | None = None
    level: int = 0


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One waiting request; times are of the own monotonic clock, in s."""

    id: str
    handler: Handler
    payload: Payload
    answer: asyncio.Future[Outcome]
    arrived_s: float
    deadline_s: float
    asked_s: float
    """When it was sent, or last asked after."""
    lane: str = ""
    stage: Stage = Stage.LOCAL
    cancelled: bool = False
    """Nobody waits any more."""
    moving: bool = False
    """It is being taken off its lane: that it is not in the queue says nothing."""
    accept_on_admit: bool = False
    """Of a detached one: its client is to be told of the admission at once."""
    wait_ms: int = 0
    """Predicted at the admission."""
    counted: bool = False
    """Its admission is in the figures; it may be admitted again, in another lane."""

    def accept(self) -> None:
        """Answer a detached request with its id, as soon as it is admitted, and not while it may get another one."""
        self.accept_on_admit = True
        if self.stage is Stage.ADMITTED and not self.moving:
            self.settle(Outcome(accepted=self.id))

    def settle(self, answer: Outcome) -> None:
        """Answer, unless it is answered already."""
        if not self.answer.done():
            self.answer.set_result(answer)


def lost(entry: PendingRequest) -> Outcome:
    """Return the answer when nobody can say whether the task ran: it may be sent again where that is harmless."""
    return Outcome(failure=Failure.UNAVAILABLE if entry.handler.idempotent else Failure.UNKNOWN)

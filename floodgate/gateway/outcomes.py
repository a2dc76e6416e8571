"""What becomes of a request: the one table of everything that is not a handler's own answer.

A new reason to refuse is one row of `Failure` here, and one line of Lua that
returns its code. Must not know HTTP's objects, routes or Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic_core import from_json

from floodgate.broker.commands import AdmitCode
from floodgate.broker.envelopes import TaskOutcome, TaskReply
from floodgate.declare.checks import is_json
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError

_SHORTEST_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A handler's reply, or the failure; `retry_after_s` goes with a refusal."""

    reply: TaskReply | None = None
    failure: Failure | None = None
    retry_after_s: float = 0
    predicted_ms: int = 0
    """How long the task was expected to wait, when it was admitted."""
    accepted: str | None = None
    """The id under which a task goes on that nobody waits for."""
    kept: bool = False
    """It has ended meanwhile: its answer can be fetched."""
    stream: Any = None
    """What follows a reply that is the first part of a streamed one (`streaming.IncomingStream`)."""

    @property
    def outcome(self) -> str:
        return self.failure.label if self.failure else "done" if self.accepted is None else "accepted"


class CallError(FloodgateError):
    """Raised by `call` where there is no result; `answer` is what a client of the route would have got."""

    def __init__(self, handler: Handler, answer: Outcome) -> None:
        status = answer.reply.status if answer.reply is not None and answer.failure is None else None
        super().__init__(f"{handler.label}: {status or answer.outcome}")
        self.answer = answer


class Refused(CallError):
    """There was no capacity, no worker, or no Redis; nothing ran, and it may be sent again after `retry_after_s`."""

    @property
    def retry_after_s(self) -> float:
        return max(_SHORTEST_RETRY_S, self.answer.retry_after_s)


class DeadlineExceeded(CallError):
    """There was no answer by the deadline."""


class Lost(CallError):
    """The worker or the reply was lost: it may have run."""


class HandlerFailed(CallError):
    """The handler raised, or answered with a status from 400 on: see `status` and `detail`."""

    @property
    def status(self) -> int:
        return self.answer.reply.status if self.answer.reply and self.answer.reply.status else 500

    @property
    def detail(self) -> Any:
        """Return what the handler gave as `HTTPError.detail`, or its body; None when it failed otherwise."""
        reply = self.answer.reply
        if reply is None or not reply.body:
            return None
        if not any(name == b"content-type" and is_json(value.decode("latin-1")) for name, value in reply.headers):
            return reply.body
        body = from_json(reply.body)
        return body.get("detail", body) if isinstance(body, dict) else body


@dataclass(frozen=True, slots=True)
class Row:
    """What one failure means to a client, and who tells of it."""

    status: int
    title: str
    detail: str
    told_by: AdmitCode | TaskOutcome | None = None
    """The code of `admit` or the end of a task that means it; None where the gateway finds out by itself."""
    retry_after_s: int | None = None
    """Of a refusal: nothing ran, and a client may come again."""
    raises: type[CallError] = Refused
    """By `call`."""


_MAY_HAVE_RUN = "The request may have been carried out; its"


class Failure(Enum):
    """Why there is no answer from a handler. The name in small letters is the log's outcome and the metrics' label."""

    RATE = Row(429, "Too many requests", "This route takes no more requests at this pace.", None, 1)
    SHARE = Row(429, "Share used up", "This caller holds its share of the slots. Try again later.", AdmitCode.SHARE, 1)
    FULL = Row(503, "Too busy", "All slots of this route are taken. Try again later.", AdmitCode.FULL, 1)
    NO_CAPACITY_IN_TIME = Row(
        503, "No capacity in time", "There is no time left to answer this. Try again later.", AdmitCode.LATE, 1
    )
    NO_WORKER = Row(503, "No worker", "Nobody serves this route at the moment.", AdmitCode.NO_WORKER, 1)
    PAUSED = Row(503, "Paused", "This route is paused by its operators.", AdmitCode.PAUSED, 1)
    RESULTS_FULL = Row(
        503, "Results full", "Too many results are kept. Fetch and delete some, or wait for the answer.", None, 10
    )
    UNAVAILABLE = Row(
        503, "Unavailable", "The queue does not answer. The request may be sent again.", TaskOutcome.DROPPED, 1
    )
    KEY_MALFORMED = Row(
        400, "Malformed Idempotency-Key", "It is sent once, as one text of 1 to 255 printable ASCII characters."
    )
    KEY_REQUIRED = Row(400, "Idempotency-Key is missing", "This route takes no request without an Idempotency-Key.")
    KEY_ANONYMOUS = Row(
        400, "Idempotency-Key without a caller", "A key belongs to whoever sent it; say who you are, or leave it out."
    )
    KEY_REUSED = Row(
        *(422, "Idempotency-Key is already used", "It was sent with another request before; use a new one."),
        AdmitCode.KEY_REUSED,
    )
    KEY_IN_USE = Row(
        *(409, "Idempotency-Key is in use", "Too many requests with this key wait for its answer."),
        *(AdmitCode.KEY_IN_USE, 1),
    )
    KEYS_FULL = Row(
        *(503, "Keys full", "Too many answers of idempotency keys are kept. Try again later."),
        *(AdmitCode.KEYS_FULL, 10),
    )
    UNKNOWN = Row(502, "Outcome unknown", f"{_MAY_HAVE_RUN} answer was lost.", raises=Lost)
    LOST = Row(502, "Worker lost", f"{_MAY_HAVE_RUN} worker was lost.", TaskOutcome.LOST, raises=Lost)
    DEADLINE_EXCEEDED = Row(
        504, "Deadline exceeded", "There was no answer in time.", TaskOutcome.EXPIRED, raises=DeadlineExceeded
    )
    FAILED = Row(
        *(500, "Internal error", "The request failed. Its id leads to the reason in the log.", TaskOutcome.FAILED),
        raises=HandlerFailed,
    )
    CLIENT_LEFT = Row(499, "Client left", "Nobody reads this.")

    def __init__(self, row: Row) -> None:
        self.label = self.name.lower()
        self.row = row
        self.is_refusal = row.retry_after_s is not None


FAILURE_OF = {failure.row.told_by: failure for failure in Failure if failure.row.told_by is not None}
"""What a code of `admit`, or the end of a task, means; what is missing is no failure."""


def lost(handler: Handler) -> Outcome:
    """Return the answer when nobody can say whether the task ran: it may be sent again where that is harmless."""
    return Outcome(failure=Failure.UNAVAILABLE if handler.idempotent else Failure.UNKNOWN)

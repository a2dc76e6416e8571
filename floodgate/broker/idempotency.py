"""What the scripts are told and tell of an `Idempotency-Key`: the broker's part of `lib/idempotency.lua`.

Pure builders and readers, as in `commands`. Must not know headers or callers: a
record is a name here, and stands at the end of the ids of whoever has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from floodgate.broker.commands import Argument, Call
from floodgate.broker.decoding import list_of, numbers
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS
from floodgate.errors import DecodeError


@dataclass(frozen=True, slots=True)
class AdmitKey:
    """What `admit` is told of a request with a key, beside what it is told of every request."""

    fingerprint: str
    inbox: str
    """The gateway process that waits, also where the task is a 202."""
    window_s: int
    retry_lost: bool
    async_response: bool
    full: bool
    """No more answers are kept: it is refused, if its key is not known."""

    def arguments(self, place: int) -> tuple[Argument, ...]:
        """Return the arguments for the request that stands at `place` in its batch."""
        flags = (int(self.retry_lost), int(self.async_response), int(self.full))
        return (place + 1, self.fingerprint, self.inbox, self.window_s, *flags)


@dataclass(frozen=True, slots=True)
class RecallReply:
    """What is kept of a key. `accepted`: the id of a 202; `answer`: a packed reply, None where nothing is kept."""

    accepted: str = ""
    answer: bytes | None = None


def id_with(name: str, record: str) -> str:
    """Return the id of a request that has a record; scripts take the record from it."""
    return f"{name}.{record}"


def record_of(task_id: str) -> str:
    """Return the record that an id names, or ''."""
    parts = task_id.split(".", 2)
    return parts[2] if len(parts) == 3 else ""


def recall(keys: Keys, record: str) -> Call[RecallReply]:
    """Ask for the answer that is kept; it may be large, so `admit` only says that it is there."""

    def read(reply: object) -> RecallReply:
        *first, accepted, answer = list_of(reply, 3, 3)
        (kept,) = numbers(first, 1)
        if not (isinstance(accepted, bytes) and isinstance(answer, bytes)):
            raise DecodeError("a kept answer that is no text")
        return RecallReply(accepted.decode("ascii", "replace"), answer if kept and not accepted else None)

    return Call(SCRIPTS["recall"], keys.prefix, (record,), read)

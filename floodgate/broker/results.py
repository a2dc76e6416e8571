"""The calls for kept answers of 202s: how far a task is, its answer, and the end of that.

Pure, as `commands`; must not know HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from floodgate.broker.commands import Call
from floodgate.broker.decoding import code_of, list_of, numbers
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS
from floodgate.errors import DecodeError


class Progress(IntEnum):
    """What `poll` says of one id."""

    UNKNOWN = 0
    WAITING = 1
    RUNNING = 2
    ENDED = 3


@dataclass(frozen=True, slots=True)
class PollReply:
    """`result` is there when the task has ended."""

    progress: Progress
    result: bytes


def poll(keys: Keys, id: str) -> Call[PollReply]:
    """Ask how far a task is that nobody waits for on a connection, and for its result."""

    def read(reply: object) -> PollReply:
        progress, result = list_of(reply, 2, 2)
        (code,) = numbers([progress], 1)
        if not isinstance(result, bytes):
            raise DecodeError("a result that is no text")
        return PollReply(code_of(Progress, code), result)

    return Call(SCRIPTS["poll"], keys.prefix, (id,), read)


def discard(keys: Keys, task_id: str) -> Call[bool]:
    """Delete a kept result; reads as whether it was there."""
    return Call(SCRIPTS["discard"], keys.prefix, (task_id,), lambda reply: numbers(reply, 1, 0) == [1])

"""The call of the script `cancel`: why it is made, and what it says of each id.

A pure builder and reader, as in `commands`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from floodgate.broker.commands import Call
from floodgate.broker.decoding import code_of, numbers
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS


class CancelMode(IntEnum):
    """Why `cancel` is called."""

    MOVE = 0  # only what still waits goes; whoever joined it is told to come again
    LEFT = 1  # nobody waits any more; a run with an `Idempotency-Key` goes on all the same
    END = 2  # whoever may has ended it


class CancelCode(IntEnum):
    """What `cancel` says of one id."""

    UNKNOWN = 0
    REMOVED = 1  # before it ran: its slot is free, it may be admitted again elsewhere
    NOTIFIED = 2  # it runs: recorded as cancelled, and its worker notified
    REMOVED_AFTER_START = 3  # before it ran again: it may have had an effect


def cancel(keys: Keys, ids: Sequence[str], mode: CancelMode = CancelMode.LEFT) -> Call[tuple[CancelCode, ...]]:
    """Say that nobody waits for these tasks any more, or what else `mode` means."""

    def read(reply: object) -> tuple[CancelCode, ...]:
        return tuple(code_of(CancelCode, value) for value in numbers(reply, 0, len(ids)))

    return Call(SCRIPTS["cancel"], keys.prefix, (mode.value, *ids), read)

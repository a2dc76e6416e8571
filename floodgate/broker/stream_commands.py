"""What the two scripts of streamed answers take and return, as `commands` says it of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter

from floodgate.broker.commands import MAX_BATCH, Argument, BatchReply, Call
from floodgate.broker.decoding import code_of, numbers
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS


class EmitCode(IntEnum):
    """What `emit` says of one run; `lua/emit.lua` has the same."""

    GONE = 0  # its lease ended, or moved on: nothing was written
    HELD = 1
    UNWANTED = 2  # nobody waits any more


@dataclass(frozen=True, slots=True)
class Emission:
    """A part of a run's streamed answer; with `chunk` empty it only asks how things stand.

    `until_ms` and `head_ms`, how long it took, come with the first part: from then on the first is the task's
    deadline, and its attempts are used up.
    """

    lease: str
    id: str
    route: str
    inbox: str
    until_ms: int
    head_ms: int
    chunk: bytes


@dataclass(frozen=True, slots=True)
class EmitResult:
    """`acknowledged`: how many bytes of the stream its client has taken, as far as Redis knows."""

    code: EmitCode
    acknowledged: int


_EMISSION = attrgetter(*(field.name for field in fields(Emission)))


def emit(keys: Keys, emissions: Sequence[Emission]) -> Call[BatchReply[EmitResult]]:
    """Send parts of streamed answers; may be repeated blindly."""

    if len(emissions) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} runs, not {len(emissions)}")
    args: tuple[Argument, ...] = tuple(value for emission in emissions for value in _EMISSION(emission))

    def read(reply: object) -> BatchReply[EmitResult]:
        now_ms, *given = numbers(reply, 1, 2 * len(emissions))
        results = [EmitResult(code_of(EmitCode, given[i]), given[i + 1]) for i in range(0, len(given), 2)]
        return BatchReply(now_ms, tuple(results))

    return Call(SCRIPTS["emit"], keys.prefix, args, read)


def acknowledge(keys: Keys, process: str, totals: Mapping[str, int], ended: Sequence[str] = ()) -> Call[int]:
    """Say how many bytes of each stream the clients of a gateway process have taken in all; reads as now_ms."""
    pairs: list[Argument] = [part for pair in totals.items() for part in pair]
    args = (process, len(totals), *pairs, *ended)
    return Call(SCRIPTS["acknowledge"], keys.prefix, args, lambda reply: numbers(reply, 1, 0)[0])

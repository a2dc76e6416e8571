"""Has keys of a wrong type deleted: once a minute, and at once when a command of this process met one.

Nothing of ours writes them, and each fails every script that needs it until it is
gone. What was in it is restored by those who own it, as after a loss of data. Must not
know what the keys are for, and never ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from floodgate.broker.commands import Call
from floodgate.broker.connection import Client, run, wrong_type_of
from floodgate.broker.decoding import list_of, texts
from floodgate.broker.keys import CATALOGUE, REPAIR_S, KeyPattern, Keys
from floodgate.broker.scripts import SCRIPTS
from floodgate.errors import DecodeError, FloodgateError
from floodgate.operations.logs import fields

AGAIN_S = 0.5
"""Between two walks, even if somebody goes on writing what is malformed: each is over all keys of the database."""
STEP = 1000
"""Keys per call: a script stops everything else while it runs."""
MOST_NAMED = 10
BEGIN = b"0"
"""The cursor before the first step of a walk, and after its last."""


@dataclass(frozen=True, slots=True)
class RepairReply:
    """Where the next step begins, and the keys that this one deleted."""

    cursor: bytes
    deleted: tuple[str, ...]


class Meter(Protocol):
    """Who counts what is deleted."""

    def repaired(self, keys: int) -> None: ...


async def repair_forever(client: Client, keys: Keys, log: logging.Logger, meter: Meter) -> None:
    """Repair until cancelled; an unavailable Redis is said once, and waited for."""
    met = wrong_type_of(client.connection_pool)
    failing = False
    while True:
        period_s = AGAIN_S if met.is_set() else REPAIR_S
        met.clear()  # before the walk: what is met during it may stand where it has been already
        try:
            await _walk(client, keys, log, meter, round(period_s * 1000))
            failing = False
        except FloodgateError as error:
            if not failing:
                log.warning("repair failed: %s", error)
            failing = True
        await asyncio.sleep(AGAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPAIR_S):
                await met.wait()


def repair(
    keys: Keys,
    *,
    period_ms: int,
    cursor: bytes = BEGIN,
    step: int = STEP,
    catalogue: Sequence[KeyPattern] = CATALOGUE,
) -> Call[RepairReply]:
    """Delete the keys of a wrong type that a step meets; a walk begins if nobody began one for `period_ms`."""
    types = [part for kind in catalogue for part in (kind.name, kind.type)]

    def read(reply: object) -> RepairReply:
        cursor, *deleted = list_of(reply, 1)
        if not isinstance(cursor, bytes):
            raise DecodeError("a cursor that is no text")
        return RepairReply(cursor, texts(deleted))

    return Call(SCRIPTS["repair"], keys.prefix, (cursor, period_ms, step, *types), read)


async def _walk(client: Client, keys: Keys, log: logging.Logger, meter: Meter, period_ms: int) -> None:
    cursor = BEGIN
    while True:
        reply = await run(client, repair(keys, period_ms=period_ms, cursor=cursor))
        if reply.deleted:
            log.error(
                "malformed keys deleted: they had a type that nothing of ours writes",
                extra=fields(count=len(reply.deleted), keys=reply.deleted[:MOST_NAMED]),
            )
            meter.repaired(len(reply.deleted))
        cursor = reply.cursor
        if cursor == BEGIN:
            return

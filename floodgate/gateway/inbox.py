"""Reads the one inbox of a gateway process and hands each reply to the request that waits for it.

Nothing is consumed by reading: what was handled is trimmed with the next read, so a
cut connection loses no reply. Replies for unknown ids are late or double: counted, dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from floodgate.broker.backoff import Backoff
from floodgate.broker.call_metrics import Calls
from floodgate.broker.commands import Argument
from floodgate.broker.connection import redis_errors
from floodgate.broker.envelopes import TaskReply, unpack_reply
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DecodeError, FloodgateError, TimedOut
from floodgate.gateway.dispatch import Dispatcher
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")

BLOCK_MS = 3000
SLACK_S = 1.5
BATCH = 256
LARGE_BYTES = 1 << 20
"""After a read of more than that the next one takes one entry: large answers come one after the other into memory."""


class Inbox:
    """Reads the replies of one process."""

    def __init__(self, pipeline: Pipeline, key: str, dispatcher: Dispatcher, meter: Calls) -> None:
        self._pipeline = pipeline
        self.key = key
        self._dispatcher = dispatcher
        self._meter = meter
        self._handled: tuple[int, int] | None = None
        self.count = BATCH
        """Entries that are read at once."""
        self.unclaimed = 0
        """Replies that nobody waited for."""
        self._early: set[str] = set()
        """Tasks whose reply was delivered before its entry was handled: it will come again."""

    def read_less(self) -> None:
        """Read fewer entries at once from now on: what they brought was too much."""
        self.count = max(1, self.count // 2)

    async def check(self, pipeline: Pipeline) -> None:
        """Raise `Unavailable` where nothing can be written: reading a replica raises no error, and brings nothing."""
        (reply,) = await pipeline.execute([("XTRIM", self.key, "MINID", "0-1")], SLACK_S)
        if isinstance(reply, Exception):
            with redis_errors():
                raise reply

    async def run(self) -> None:
        """Read for ever; ends by cancellation."""
        backoff = Backoff()
        while True:
            try:
                await self._read()
                backoff.reset()
            except FloodgateError as error:
                self._meter.failed()
                log.warning("no replies: waiting for Redis", extra=fields(reason=str(error)))
                await asyncio.sleep(backoff.next_s())

    async def _read(self) -> None:
        # Trimmed by the next read and not when it was handled: a connection that is cut in between loses no reply.
        commands: list[tuple[Argument, ...]] = []
        if self._handled is not None:
            ms, serial = self._handled
            commands.append(("XTRIM", self.key, "MINID", f"{ms}-{serial + 1}"))
        commands.append(("XREAD", "COUNT", self.count, "BLOCK", BLOCK_MS, "STREAMS", self.key, "0-0"))
        try:
            replies = await self._pipeline.execute(commands, BLOCK_MS / 1000 + SLACK_S)
        except TimedOut:
            self.read_less()
            raise
        for reply in replies:
            if isinstance(reply, Exception):
                await self._pipeline.close()
                with redis_errors():
                    raise reply
        self._handled = None
        streams: Any = replies[-1]
        entries = streams[0][1] if streams else []
        self._meter.brought(len(entries))
        if not entries:
            self._early.clear()
        self.count = 1 if self.handle(entries) > LARGE_BYTES else min(BATCH, self.count * 2)

    def handle(self, entries: list[Any]) -> int:
        """Deliver the replies of stream entries, note them as handled, return how many bytes they have."""
        size = 0
        for entry_id, values in entries:
            for reply, bytes_ in _replies(values):
                if not self._dispatcher.deliver(reply) and reply.task_id not in self._early:
                    self.unclaimed += 1
                self._early.discard(reply.task_id)
                size += bytes_
            ms, _, serial = entry_id.decode().partition("-")
            self._handled = int(ms), int(serial)
        return size

    def peek(self, values: list[bytes] | None) -> int:
        """Deliver the replies of one entry that is not handled yet, return their bytes; it will come again."""
        size = 0
        for reply, bytes_ in _replies(values):
            size += bytes_
            if self._dispatcher.deliver(reply):
                self._early.add(reply.task_id)
        return size


def _replies(values: list[bytes] | None) -> Iterator[tuple[TaskReply, int]]:
    """Yield the replies of one entry that can be read, and the bytes of each."""
    for value in (values or [])[1::2]:
        try:
            yield unpack_reply(value), len(value)
        except DecodeError as error:
            log.error("malformed reply dropped", extra=fields(reason=str(error)))

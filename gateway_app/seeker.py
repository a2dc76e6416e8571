"""Asks after requests whose answer may have been lost: after a reconnect, and when they wait long.

The order of the look is the proof: first whether the task is gone, then the
inbox. A task that is gone and has no reply there will never be answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from gateway_app.answers import Entry, Stage, lost
from gateway_app.replies import Inbox
from shared.errors import Unavailable
from shared.queue.keys import Keys
from shared.queue.scripts.calls import Argument
from shared.queue.wire import Wire

AGE_S = 2.0
"""Older ones are asked after; above `VALID_S` of the admitter, so that a silent `admit` can no longer run."""
CALL_S = 2.0
BATCH = 256


class Seeker:
    """The one that looks; `entries` returns what waits now."""

    def __init__(
        self, wire: Wire, keys: Keys, inbox_key: str, inbox: Inbox, entries: Callable[[], Sequence[Entry]]
    ) -> None:
        self._wire = wire
        self._keys = keys
        self._inbox_key = inbox_key
        self._inbox = inbox
        self._entries = entries
        self._all = False
        self._now = asyncio.Event()

    def look_at_all(self) -> None:
        """A connection was lost: whatever was admitted is looked at with the next round."""
        self._all = True
        self._now.set()

    async def wait(self, period_s: float) -> None:
        """Return after a period, or at once when everything is to be looked at."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period_s):
                await self._now.wait()
        self._now.clear()

    async def look(self) -> None:
        """Look once; raises `Unavailable`."""
        now_s = time.monotonic()
        everyone, self._all = self._all, False
        due = [
            entry
            for entry in self._entries()
            if entry.stage is not Stage.LOCAL
            and (now_s - entry.asked_s > AGE_S or (everyone and entry.stage is Stage.ADMITTED))
        ]
        for at in range(0, len(due), BATCH):
            await self._look_at(due[at : at + BATCH])

    async def _look_at(self, due: Sequence[Entry]) -> None:
        by_route: dict[str, list[Entry]] = {}
        for entry in due:
            by_route.setdefault(entry.handler.route, []).append(entry)
        commands: list[tuple[Argument, ...]] = [
            ("ZMSCORE", self._keys.slots(route), *(entry.id for entry in entries))
            for route, entries in by_route.items()
        ]
        try:
            *there, replies = await self._wire.exchange([*commands, ("XRANGE", self._inbox_key, "-", "+")], CALL_S)
        except Unavailable:
            self._all = True
            for entry in due:  # a silent `admit` is too old to run now; whether it ran, nobody can tell us
                if entry.stage is Stage.SENT:
                    entry.settle(lost(entry))
            raise
        asked_s = time.monotonic()
        for _, values in replies if isinstance(replies, list) else ():
            self._inbox.peek(values)
        for entries, scores in zip(by_route.values(), there, strict=True):
            if isinstance(scores, list) and len(scores) == len(entries):
                self._conclude(entries, scores, asked_s, isinstance(replies, list))

    def _conclude(self, entries: Sequence[Entry], scores: Sequence[object], asked_s: float, is_sure: bool) -> None:
        """A task is in the system exactly as long as it has a slot."""
        for entry, score in zip(entries, scores, strict=True):
            entry.asked_s = asked_s
            if score is not None:
                entry.stage = Stage.ADMITTED
                if entry.hurried:
                    entry.accept()
            elif is_sure:
                entry.settle(lost(entry))


async def look_forever(seeker: Seeker, period_s: float) -> None:
    """Look for ever; ends by cancellation."""
    while True:
        await seeker.wait(period_s)
        try:
            await seeker.look()
        except Unavailable:
            continue

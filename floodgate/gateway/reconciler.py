"""Asks after requests whose answer may have been lost: after a reconnect or a loss of data, and when they wait long.

The order proves the result: first whether the task is gone, then the inbox. A task
that is gone and has no reply there will never be answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence

from floodgate.broker.commands import Argument
from floodgate.broker.connection import redis_errors
from floodgate.broker.idempotency import record_of
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import StoreFull, TimedOut, Unavailable
from floodgate.gateway.admission import PendingRequest, Stage
from floodgate.gateway.dispatch import Dispatcher
from floodgate.gateway.inbox import Inbox
from floodgate.gateway.outcomes import lost

AGE_S = 1.5
"""Older ones are asked after; above `VALID_S` of admission, so that an unanswered `admit` can no longer run."""
PERIOD_S = 0.5
CALL_S = 2.0
BATCH = 256

Asked = tuple[PendingRequest, str, Stage]
"""A request, with its id and stage when it was asked after."""


class Reconciler:
    """Settles what waits in one process for an answer that will not come."""

    def __init__(self, pipeline: Pipeline, keys: Keys, inbox: Inbox, dispatcher: Dispatcher) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._inbox = inbox
        self._dispatcher = dispatcher
        self._stamp = b""
        self._all = False
        self._now = asyncio.Event()

    def reconcile_all(self) -> None:
        """Ask after everything that was admitted, now: a connection was lost."""
        self._all = True
        self._now.set()

    async def run(self) -> None:
        """Reconcile every `PERIOD_S`, and at once after `reconcile_all`; ends by cancellation."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._now.wait()
            self._now.clear()
            with contextlib.suppress(Unavailable):
                await self.reconcile()

    async def reconcile(self) -> None:
        """Ask once; raises `Unavailable`."""
        # Before the first await: what is asked for from here on is the next round's.
        everyone, self._all = self._all, False
        try:
            stamp = await self._read_stamp()
            is_new = bool(self._stamp and stamp) and stamp != self._stamp
            due = self._due(everyone, is_new)
            for at in range(0, len(due), BATCH):
                await self._ask_after(due[at : at + BATCH])
            self._stamp = stamp or self._stamp  # last: a round that fails has to see the change again
        except Unavailable:
            self._all = True
            for pending in self._dispatcher.waiting():
                # Too old for its `admit` to run now; whether it ran, nobody can say.
                if pending.stage in (Stage.SENT, Stage.UNANSWERED) and _is_old(pending):
                    pending.settle(lost(pending.handler))
            raise

    def _due(self, everyone: bool, is_new: bool) -> list[PendingRequest]:
        """Return whom to ask after. What was sent to data that are gone need not grow old first."""
        placed = everyone or is_new
        at_once = {Stage.ADMITTED: placed, Stage.JOINED: placed, Stage.UNANSWERED: is_new}
        return [
            pending
            for pending in self._dispatcher.waiting()
            if pending.stage is not Stage.LOCAL and (at_once.get(pending.stage, False) or _is_old(pending))
        ]

    async def _read_stamp(self) -> bytes:
        """Return the name of the data set, given now if it had none; empty where there is no telling.

        It is a write, which a replica refuses: a replica may lack what was queued a moment ago.
        """
        token = secrets.token_hex(8)
        (found,) = await self._ask([("SET", self._keys.stamp(), token, "NX", "GET")])
        if isinstance(found, Exception):
            try:
                with redis_errors():
                    raise found
            except StoreFull:  # there are data, then
                return b""
        return found if isinstance(found, bytes) else token.encode()

    async def _ask(self, commands: Sequence[tuple[Argument, ...]]) -> list[object]:
        """Return the replies; a connection that is found cut is opened anew, once, in the same time."""
        with redis_errors():
            async with asyncio.timeout(CALL_S):
                try:
                    return await self._pipeline.execute(commands, CALL_S)
                except TimedOut:
                    raise
                except Unavailable:
                    return await self._pipeline.execute(commands, CALL_S)

    async def _ask_after(self, due: Sequence[PendingRequest]) -> None:
        """A task is in the system exactly as long as it has a slot."""
        by_route: dict[str, list[Asked]] = {}
        keyed: list[Asked] = []
        for pending in due:
            asked = keyed if pending.payload.options.record else by_route.setdefault(pending.handler.route, [])
            asked.append((pending, pending.id, pending.stage))
        # Slots first, then the inbox: in the other order a reply could arrive between the two and be missed.
        there = await self._ask(
            [("ZMSCORE", self._keys.slots(route), *(id for _, id, _ in asked)) for route, asked in by_route.items()]
            + [("HMGET", self._keys.idempotency(record_of(id)), "task", id) for _, id, _ in keyed]
        )
        asked_s = time.monotonic()
        gone: list[Asked] = []
        for one, found in zip(keyed, there[len(by_route) :], strict=True):
            # whoever waits by a key has no slot where it has joined, but stands in the record
            if isinstance(found, list) and len(found) == 2:
                if found[1] is None:
                    gone.append(one)
                else:
                    self._is_there(one, asked_s, Stage.ADMITTED if found[0] == one[1].encode() else Stage.JOINED)
        for asked, scores in zip(by_route.values(), there[: len(by_route)], strict=True):
            if not isinstance(scores, list) or len(scores) != len(asked):
                continue
            for one, score in zip(asked, scores, strict=True):
                if score is None:
                    gone.append(one)
                else:
                    self._is_there(one, asked_s, Stage.ADMITTED)
        if gone and await self._has_read_inbox():
            for one in filter(_is_unchanged, gone):
                one[0].settle(lost(one[0].handler))

    def _is_there(self, asked: Asked, asked_s: float, stage: Stage) -> None:
        if _is_unchanged(asked):
            pending = asked[0]
            pending.asked_s, pending.stage = asked_s, stage
            if pending.accept_on_admit:
                pending.accept()

    async def _has_read_inbox(self) -> bool:
        """Deliver all that is in the inbox; False where that did not succeed."""
        start, count = "-", self._inbox.count
        while True:
            try:
                (entries,) = await self._ask([("XRANGE", self._inbox.key, start, "+", "COUNT", count)])
            except TimedOut:
                self._inbox.read_less()
                return False
            if not isinstance(entries, list):
                return False
            # Not trimmed here: only the inbox's own read knows what it has handled.
            unread = [self._inbox.peek(values) for _, values in entries]
            if any(unread):
                self._inbox.doubt()
            if len(entries) < count:
                return True
            start = f"({entries[-1][0].decode('ascii', 'replace')}"


def _is_old(pending: PendingRequest) -> bool:
    return time.monotonic() - pending.asked_s > AGE_S


def _is_unchanged(asked: Asked) -> bool:
    """Tell whether what was found out is about the pending as it is: it may be answered, or moved to another lane."""
    pending, id, stage = asked
    return pending.id == id and pending.stage is stage and not pending.moving and not pending.answer.done()

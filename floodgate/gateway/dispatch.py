"""Submit, await, cancel on deadline or disconnect: the use case, in one function.

Owns the table of waiting requests. Whatever happens to Redis, workers or the
client, every request leaves `dispatch` with exactly one answer by its deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from floodgate.broker.commands import cancel
from floodgate.broker.connection import Client, run
from floodgate.broker.envelopes import Outcome, TaskReply
from floodgate.broker.keys import Keys
from floodgate.broker.lifecycle import CancelCode
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError
from floodgate.gateway.async_results import Results
from floodgate.gateway.disconnect import Receive, Watch
from floodgate.gateway.metrics import Metering
from floodgate.gateway.outcomes import Answer, Draft, Entry, Stage, Terms, Trouble, lost
from floodgate.gateway.rate_limit import Refusals
from floodgate.gateway.worker_directory import Lanes

BATCH = 256

_TROUBLES = {
    Outcome.FAILED: Trouble.FAILED,
    Outcome.EXPIRED: Trouble.LATE,
    Outcome.LOST: Trouble.LOST,
    Outcome.DROPPED: Trouble.UNAVAILABLE,
}


class Dispatcher:
    """The requests of one gateway process that wait for an answer."""

    def __init__(
        self,
        process: str,
        client: Client,
        keys: Keys,
        lanes: Lanes,
        results: Results,
        offer: Callable[[Entry], None],
        refusals: Refusals,
        metering: Metering,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lanes = lanes
        self._results = results
        self._offer = offer
        self.refusals = refusals
        self.metering = metering
        self._loop = asyncio.get_running_loop()
        self._entries: dict[str, Entry] = {}
        self._process = process
        self._serial = itertools.count()
        self._closed = False
        self._unwanted: list[str] = []
        self._some_unwanted = asyncio.Event()

    def waiting(self) -> Sequence[Entry]:
        return list(self._entries.values())

    async def dispatch(self, handler: Handler, draft: Draft, receive: Receive) -> Answer:
        """Send one request through the queue; `receive` tells when its client leaves. Never raises for an outcome."""
        if self._closed:
            return Answer(trouble=Trouble.UNAVAILABLE)
        now_s = time.monotonic()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        deadline_s = now_s + draft.terms.budget_ms / 1000
        entry = Entry(self._name(handler, draft.terms), handler, draft, answer, now_s, deadline_s, now_s)
        self._entries[entry.id] = entry
        watch = Watch(self._loop, entry, receive)
        self._offer(entry)
        try:
            found = await answer
            return await self._fetch(entry) if found.kept else found
        finally:
            watch.end()
            del self._entries[entry.id]
            if not _is_settled_by_queue(entry):
                self.withdraw(entry)

    def deliver(self, reply: TaskReply) -> bool:
        """Hand a reply to its request; False when nobody waits for it."""
        entry = self._entries.get(reply.task_id)
        if entry is None or entry.answer.done():
            return False
        entry.stage = Stage.ADMITTED
        if not entry.counted:
            self.metering.admitted(entry)
        if reply.outcome is Outcome.KEPT:
            entry.settle(Answer(accepted=entry.id, kept=True))
        elif reply.outcome is Outcome.DONE:
            entry.settle(Answer(reply=reply, predicted_ms=entry.wait_ms))
        else:
            entry.settle(Answer(reply=reply, trouble=_TROUBLES[reply.outcome], predicted_ms=entry.wait_ms))
        return True

    async def _fetch(self, entry: Entry) -> Answer:
        """Return the answer of a detached task whose client still waits, or 202 where it cannot be had now."""
        try:
            found = await self._results.find(entry.id)
        except FloodgateError:
            found = None
        if not isinstance(found, Answer):
            return Answer(accepted=entry.id)
        return replace(found, predicted_ms=entry.wait_ms)

    def withdraw(self, entry: Entry) -> None:
        """Nobody waits any more: at once if admitted; the admitter calls again when it gets there later."""
        entry.withdrawn = True
        if entry.stage is Stage.ADMITTED:
            self._unwanted.append(entry.id)
            self._some_unwanted.set()

    def give_up(self) -> None:
        """Answer whoever still waits: this process leaves now."""
        for entry in self.waiting():
            entry.settle(Answer(trouble=Trouble.UNAVAILABLE) if entry.stage is Stage.LOCAL else lost(entry))

    def close(self) -> None:
        """Answer whoever waits, and whoever still comes at once: nothing is behind this any more."""
        self._closed = True
        self.give_up()

    async def cancel_forever(self) -> None:
        """Tell the queue of withdrawn tasks; ends by cancellation. What cannot be told ends at its deadline."""
        while True:
            await self._some_unwanted.wait()
            batch, self._unwanted = self._unwanted[:BATCH], self._unwanted[BATCH:]
            if not self._unwanted:
                self._some_unwanted.clear()
            sent_s = time.monotonic()
            try:
                await run(self._client, cancel(self._keys, batch))
            except FloodgateError:
                self.metering.cancels.failed()
            else:
                self.metering.cancels.answered(time.monotonic() - sent_s, len(batch))

    async def move_stranded(self) -> None:
        """Take waiting tasks off lanes that nobody serves any more, and admit them again where somebody does.

        Raises `FloodgateError`; the next survey tries again.
        """
        stranded = [e for e in self.waiting() if e.stage is Stage.ADMITTED and not self._lanes.serves(e.lane)]
        for at in range(0, len(stranded), BATCH):
            batch = stranded[at : at + BATCH]
            waiting = [entry for entry in batch if not entry.answer.done()]
            for entry in waiting:
                entry.moving = True
            try:
                reply = await run(self._client, cancel(self._keys, [entry.id for entry in waiting], running=False))
            except BaseException:
                for entry in waiting:
                    entry.moving = False
                    if entry.hurried:
                        entry.accept()
                raise
            for entry, code in zip(waiting, reply.codes, strict=True):
                entry.moving = False
                if code is CancelCode.REMOVED and not entry.answer.done():
                    self._admit_again(entry)
                elif code is CancelCode.REMOVED_AFTER_A_TRY:
                    entry.settle(lost(entry))
                elif entry.hurried:
                    entry.accept()

    def _admit_again(self, entry: Entry) -> None:
        """Offer it under a new id. The door judges by what is left of its time, and its refusal is not for others."""
        self._entries.pop(entry.id, None)
        entry.arrived_s = time.monotonic()
        left_ms = max(1, round((entry.deadline_s - entry.arrived_s) * 1000))
        terms = replace(entry.draft.terms, budget_ms=left_ms, whole=False)
        entry.draft = replace(entry.draft, terms=terms)
        entry.id, entry.stage = self._name(entry.handler, terms), Stage.LOCAL
        self._entries[entry.id] = entry
        self._offer(entry)

    def _name(self, handler: Handler, terms: Terms) -> str:
        if terms.detached:  # whoever knows it may fetch the result
            return f"{handler.route}.{secrets.token_hex(16)}"
        # reap finds by it what waits for a gateway that is gone
        return f"{handler.route}.{self._process}{next(self._serial):x}"


def _is_settled_by_queue(entry: Entry) -> bool:
    if not entry.answer.done() or entry.answer.cancelled():
        return False
    answer = entry.answer.result()
    return answer.reply is not None or answer.accepted is not None or answer.trouble in _BY_QUEUE


_BY_QUEUE = frozenset({Trouble.FULL, Trouble.SHARE, Trouble.PAUSED, Trouble.NO_WORKER, Trouble.TOO_LATE})

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

from floodgate.broker.commands import CancelCode, cancel
from floodgate.broker.connection import Client, run
from floodgate.broker.envelopes import TaskOutcome, TaskReply
from floodgate.broker.keys import Keys
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError
from floodgate.gateway.async_results import AsyncResults
from floodgate.gateway.disconnect import DisconnectWatcher, Receive
from floodgate.gateway.metrics import GatewayMetrics
from floodgate.gateway.outcomes import Failure, Outcome, Payload, PendingRequest, RequestOptions, Stage, lost
from floodgate.gateway.rate_limit import Refusals
from floodgate.gateway.worker_directory import WorkerDirectory

BATCH = 256

_TROUBLES = {
    TaskOutcome.FAILED: Failure.FAILED,
    TaskOutcome.EXPIRED: Failure.LATE,
    TaskOutcome.LOST: Failure.LOST,
    TaskOutcome.DROPPED: Failure.UNAVAILABLE,
}


class Dispatcher:
    """The requests of one gateway process that wait for an answer."""

    def __init__(
        self,
        process: str,
        client: Client,
        keys: Keys,
        lanes: WorkerDirectory,
        results: AsyncResults,
        offer: Callable[[PendingRequest], None],
        refusals: Refusals,
        metering: GatewayMetrics,
    ) -> None:
        self._client = client
        self._keys = keys
        self._directory = lanes
        self._results = results
        self._offer = offer
        self.refusals = refusals
        self.metering = metering
        self._loop = asyncio.get_running_loop()
        self._entries: dict[str, PendingRequest] = {}
        self._process = process
        self._serial = itertools.count()
        self._closed = False
        self._unwanted: list[str] = []
        self._some_unwanted = asyncio.Event()

    def waiting(self) -> Sequence[PendingRequest]:
        return list(self._entries.values())

    async def dispatch(self, handler: Handler, payload: Payload, receive: Receive) -> Outcome:
        """Send one request through the queue; `receive` tells when its client leaves. Never raises for an outcome."""
        if self._closed:
            return Outcome(failure=Failure.UNAVAILABLE)
        now_s = time.monotonic()
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        deadline_s = now_s + payload.options.budget_ms / 1000
        entry = PendingRequest(self._name(handler, payload.options), handler, payload, answer, now_s, deadline_s, now_s)
        self._entries[entry.id] = entry
        watch = DisconnectWatcher(self._loop, entry, receive)
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
        if reply.outcome is TaskOutcome.KEPT:
            entry.settle(Outcome(accepted=entry.id, kept=True))
        elif reply.outcome is TaskOutcome.DONE:
            entry.settle(Outcome(reply=reply, predicted_ms=entry.wait_ms))
        else:
            entry.settle(Outcome(reply=reply, failure=_TROUBLES[reply.outcome], predicted_ms=entry.wait_ms))
        return True

    async def _fetch(self, entry: PendingRequest) -> Outcome:
        """Return the answer of a detached task whose client still waits, or 202 where it cannot be had now."""
        try:
            found = await self._results.find(entry.id)
        except FloodgateError:
            found = None
        if not isinstance(found, Outcome):
            return Outcome(accepted=entry.id)
        return replace(found, predicted_ms=entry.wait_ms)

    def withdraw(self, entry: PendingRequest) -> None:
        """Nobody waits any more: at once if admitted; the admitter calls again when it gets there later."""
        entry.cancelled = True
        if entry.stage is Stage.ADMITTED:
            self._unwanted.append(entry.id)
            self._some_unwanted.set()

    def give_up(self) -> None:
        """Answer whoever still waits: this process leaves now."""
        for entry in self.waiting():
            entry.settle(Outcome(failure=Failure.UNAVAILABLE) if entry.stage is Stage.LOCAL else lost(entry))

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
        stranded = [e for e in self.waiting() if e.stage is Stage.ADMITTED and not self._directory.serves(e.lane)]
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
                    if entry.accept_on_admit:
                        entry.accept()
                raise
            for entry, code in zip(waiting, reply.results, strict=True):
                entry.moving = False
                if code is CancelCode.REMOVED and not entry.answer.done():
                    self._admit_again(entry)
                elif code is CancelCode.REMOVED_AFTER_START:
                    entry.settle(lost(entry))
                elif entry.accept_on_admit:
                    entry.accept()

    def _admit_again(self, entry: PendingRequest) -> None:
        """Offer it under a new id. The door judges by what is left of its time, and its refusal is not for others."""
        self._entries.pop(entry.id, None)
        entry.arrived_s = time.monotonic()
        left_ms = max(1, round((entry.deadline_s - entry.arrived_s) * 1000))
        options = replace(entry.payload.options, budget_ms=left_ms, whole=False)
        entry.payload = replace(entry.payload, options=options)
        entry.id, entry.stage = self._name(entry.handler, options), Stage.LOCAL
        self._entries[entry.id] = entry
        self._offer(entry)

    def _name(self, handler: Handler, options: RequestOptions) -> str:
        if options.async_response:  # whoever knows it may fetch the result
            return f"{handler.route}.{secrets.token_hex(16)}"
        # reap finds by it what waits for a gateway that is gone
        return f"{handler.route}.{self._process}{next(self._serial):x}"


def _is_settled_by_queue(entry: PendingRequest) -> bool:
    if not entry.answer.done() or entry.answer.cancelled():
        return False
    answer = entry.answer.result()
    return answer.reply is not None or answer.accepted is not None or answer.failure in _BY_QUEUE


_BY_QUEUE = frozenset({Failure.FULL, Failure.SHARE, Failure.PAUSED, Failure.NO_WORKER, Failure.TOO_LATE})

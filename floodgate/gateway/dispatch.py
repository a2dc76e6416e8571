"""Submits a request to the queue and awaits its answer, its deadline, or its client's leaving.

Owns the table of waiting requests. Whatever happens to Redis, workers or the
client, every request leaves `dispatch` with exactly one answer by its deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from floodgate.broker.cancellation import CancelCode, CancelMode, cancel
from floodgate.broker.commands import AdmitCode
from floodgate.broker.connection import run
from floodgate.broker.envelopes import TaskOutcome, TaskReply
from floodgate.broker.idempotency import id_with
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError
from floodgate.gateway.admission import AdmissionBatcher, PendingRequest, Stage
from floodgate.gateway.async_results import AsyncResults
from floodgate.gateway.cancellation import CancelBatcher
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.idempotency import Joined, KeptAnswers, Replayed
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome, lost
from floodgate.gateway.payload import Payload
from floodgate.gateway.request_options import RequestOptions
from floodgate.gateway.streaming import Streams
from floodgate.gateway.worker_directory import WorkerDirectory

Receive = Callable[[], Awaitable[Any]]

BATCH = 256
LISTEN_AFTER_S = 0.05
"""Before a client is listened to: most answers come sooner."""


class Dispatcher:
    """The requests of one gateway process that wait for an answer."""

    def __init__(
        self,
        context: GatewayContext,
        directory: WorkerDirectory,
        results: AsyncResults,
        kept_answers: KeptAnswers,
        admission: AdmissionBatcher,
        cancels: CancelBatcher,
        streams: Streams,
    ) -> None:
        self._context = context
        self._directory = directory
        self._results = results
        self._kept_answers = kept_answers
        self._admission = admission
        self._cancels = cancels
        self.rate_limiter = context.rate_limiter
        self.metrics = context.metrics
        self.streams = streams
        streams.table = self
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, PendingRequest] = {}
        self._process = context.process
        self._serial = itertools.count()
        self._closed = False

    def waiting(self) -> Sequence[PendingRequest]:
        return list(self._pending.values())

    async def dispatch(self, handler: Handler, payload: Payload, receive: Receive) -> Outcome:
        """Send one request through the queue; `receive` tells when its client leaves. Never raises for an outcome."""
        if self._closed:
            return Outcome(failure=Failure.UNAVAILABLE)
        now_s = time.monotonic()
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        deadline_s = now_s + payload.options.budget_ms / 1000
        pending = PendingRequest(
            self._name(handler, payload.options), handler, payload, answer, now_s, deadline_s, now_s
        )
        # Before it is submitted: from then on a reply may come, and would find nobody.
        self._pending[pending.id] = pending
        watch = DisconnectWatcher(self._loop, pending, receive)
        self._admission.submit(pending)
        try:
            found = await answer
            return await self._fetch(pending) if found.kept else found
        except BaseException:
            if pending.stream is not None:
                self.streams.end(pending.stream)
            raise
        finally:
            watch.end()
            if pending.stream is None:  # else it is there until its stream has ended
                del self._pending[pending.id]
                if not _is_settled_by_queue(pending):
                    self._cancel(pending)

    def end_stream(self, pending: PendingRequest) -> None:
        """Forget a request whose answer was streamed; cancel its task unless it has ended."""
        del self._pending[pending.id]
        if not _is_settled_by_queue(pending):
            self._cancel(pending)

    def deliver(self, reply: TaskReply) -> bool:
        """Hand a reply to its request; False when nobody waits for it."""
        pending = self._pending.get(reply.task_id)
        if pending is None or pending.answer.done():
            return False
        if pending.payload.options.record and self._deliver_by_key(pending, reply):
            return True
        pending.stage = Stage.ADMITTED  # a reply proves it, also where the answer of `admit` was lost
        if not pending.counted:
            pending.count_admission(self.metrics)
        if reply.outcome is TaskOutcome.KEPT:
            pending.settle(Outcome(accepted=pending.id, kept=True))
        elif reply.outcome is TaskOutcome.DONE:
            pending.settle(Outcome(reply=reply, predicted_ms=pending.wait_ms))
        elif reply.outcome is TaskOutcome.CHUNK:
            self.streams.take(pending, reply)
        else:
            pending.settle(Outcome(reply=reply, failure=FAILURE_OF[reply.outcome], predicted_ms=pending.wait_ms))
        return True

    def _deliver_by_key(self, pending: PendingRequest, reply: TaskReply) -> bool:
        """Hand over what is told only to who has an `Idempotency-Key`; False for anything else."""
        if reply.outcome is TaskOutcome.AGAIN:
            self._admit_again(pending)
        elif reply.outcome is TaskOutcome.KEPT:  # where, `_fetch` finds out: it may have joined, or be a 202 itself
            pending.stage = Stage.JOINED
            pending.settle(Outcome(accepted=pending.id, kept=True))
        elif pending.stage is Stage.JOINED:
            pending.settle(Joined(reply=reply, failure=FAILURE_OF[reply.outcome]))
        else:
            return False
        return True

    async def _recall(self, pending: PendingRequest) -> Outcome | None:
        """Return the kept answer of a key; None where it is the request's own 202."""
        kind = Joined if pending.stage is Stage.JOINED else Replayed
        try:
            found = await self._kept_answers.recall(pending.payload.options.record, kind)
        except FloodgateError:
            found = None
        if found is None:  # it has just ended, or cannot be read now: with its key it may be sent again
            return Outcome(failure=Failure.UNAVAILABLE)
        return None if found.accepted == pending.id else found

    async def _fetch(self, pending: PendingRequest) -> Outcome:
        """Return the answer of a 202 whose client still waits, or the 202 where it cannot be had now."""
        if pending.payload.options.record and (answer := await self._recall(pending)):
            return answer
        try:
            found = await self._results.find(pending.id)
        except FloodgateError:
            found = None
        if not isinstance(found, Outcome):
            return Outcome(accepted=pending.id)
        return replace(found, predicted_ms=pending.wait_ms)

    def _cancel(self, pending: PendingRequest) -> None:
        """Take back what nobody waits for; what is still being sent, `AdmissionBatcher` cancels once it is admitted."""
        pending.cancelled = True
        if pending.stage in (Stage.ADMITTED, Stage.JOINED):
            self._cancels.submit(pending.id)

    def give_up(self) -> None:
        """Answer all requests that still wait: this process leaves now."""
        for pending in self.waiting():
            pending.settle(
                Outcome(failure=Failure.UNAVAILABLE) if pending.stage is Stage.LOCAL else lost(pending.handler)
            )

    def close(self) -> None:
        """Answer all requests that wait, and those that still come at once: the loops behind this have ended."""
        self._closed = True
        self.give_up()

    async def move_stranded(self) -> None:
        """Take waiting tasks off lanes that nobody serves any more, and admit them again where somebody does.

        Raises `FloodgateError`; the next refresh of the directory tries again.
        """
        placed = (Stage.ADMITTED, Stage.JOINED)
        stranded = [p for p in self.waiting() if p.stage in placed and not self._directory.serves(p.lane)]
        for at in range(0, len(stranded), BATCH):
            batch = stranded[at : at + BATCH]
            waiting = [pending for pending in batch if not pending.answer.done()]
            for pending in waiting:  # until its new id is known, a 202 must not tell the old one
                pending.moving = True
            try:
                # What runs already is left to its worker: with `running` it would be told to stop.
                call = cancel(self._context.keys, [pending.id for pending in waiting], CancelMode.MOVE)
                codes = await run(self._context.client, call)
            except BaseException:
                for pending in waiting:
                    pending.moving = False
                    if pending.accept_on_admit:
                        pending.accept()
                raise
            for pending, code in zip(waiting, codes, strict=True):
                pending.moving = False
                if pending.stage is Stage.LOCAL:
                    continue  # told to come again meanwhile
                if code is CancelCode.REMOVED and not pending.answer.done():
                    self._admit_again(pending)
                elif code is CancelCode.REMOVED_AFTER_START:
                    pending.settle(lost(pending.handler))
                elif pending.accept_on_admit:
                    pending.accept()

    def _admit_again(self, pending: PendingRequest) -> None:
        """Submit it under a new id. Admission judges by what is left of its time, and a refusal is not for others."""
        self._pending.pop(pending.id, None)
        pending.arrived_s = time.monotonic()
        left_ms = max(1, round((pending.deadline_s - pending.arrived_s) * 1000))
        options = replace(pending.payload.options, budget_ms=left_ms, has_full_budget=False)
        pending.payload = replace(pending.payload, options=options)
        pending.id, pending.stage = self._name(pending.handler, options), Stage.LOCAL
        self._pending[pending.id] = pending
        self._admission.submit(pending)

    def _name(self, handler: Handler, options: RequestOptions) -> str:
        if options.async_response:  # whoever knows it may fetch the result
            name = f"{handler.route}.{secrets.token_hex(16)}"
        else:  # reap finds by it what waits for a gateway that is gone
            name = f"{handler.route}.{self._process}{next(self._serial):x}"
        return id_with(name, options.record) if options.record else name


def _is_settled_by_queue(pending: PendingRequest) -> bool:
    if not pending.answer.done() or pending.answer.cancelled():
        return False
    answer = pending.answer.result()
    if answer.failure is not None and isinstance(answer.failure.row.told_by, AdmitCode):
        return True  # refused by the queue: there is no task to cancel
    return answer.reply is not None or answer.accepted is not None


class DisconnectWatcher:
    """Settles one request at its deadline, or when its client leaves; `receive` is ASGI's, its body read already.

    Most answers come before either matters, so a request starts with one timer and
    nothing else; only a slow one gets a task that listens for its client.
    """

    __slots__ = ("_listening", "_loop", "_pending", "_receive", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, pending: PendingRequest, receive: Receive) -> None:
        self._loop = loop
        self._pending = pending
        self._receive = receive
        self._listening: asyncio.Task[None] | None = None
        options = pending.payload.options
        if options.async_response and options.max_wait_s == 0:
            pending.accept()
        first_s = min(LISTEN_AFTER_S, options.max_wait_s if options.async_response else options.budget_ms / 1000)
        self._timer = loop.call_later(first_s, self._listen)

    def end(self) -> None:
        """Stop watching: there is an answer."""
        self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None  # its traceback holds us, and with us the answer, until the garbage is collected

    def _listen(self) -> None:
        options = self._pending.payload.options
        ends_s = self._pending.arrived_s + options.max_wait_s if options.async_response else self._pending.deadline_s
        self._timer = self._loop.call_later(max(0.0, ends_s - time.monotonic()), self._out_of_time)
        self._listening = self._loop.create_task(self._until_left())

    def _out_of_time(self) -> None:
        if self._pending.payload.options.async_response:
            self._pending.accept()
        else:
            self._pending.settle(Outcome(failure=Failure.DEADLINE_EXCEEDED))

    async def _until_left(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception:  # an unread body that is too large: its client is there, and its leaving cannot be seen
            return
        self._pending.settle(Outcome(failure=Failure.CLIENT_LEFT))

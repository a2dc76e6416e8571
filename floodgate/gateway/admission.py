"""Group commit of admissions: one `admit` under way, what arrives meanwhile is the next batch.

Never sends a call twice, since `admit` is not idempotent. An admission without an
answer is `UNANSWERED`, and the `Reconciler` asks after it. Nobody waits longer than a
second to be sent, and nobody at all while Redis does not answer.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from floodgate.broker.commands import (
    AdmissionClass,
    AdmitCode,
    AdmitReply,
    AdmitRequest,
    AdmitResult,
    Argument,
    admit,
)
from floodgate.broker.envelopes import join_task, pack_header
from floodgate.broker.keys import flow_of
from floodgate.broker.pipeline import Pipeline
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError, StoreFull, Unavailable
from floodgate.gateway.cancellation import CancelBatcher
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.idempotency import KeptAnswers, admit_key
from floodgate.gateway.metrics import GatewayMetrics
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome, lost
from floodgate.gateway.payload import Payload
from floodgate.gateway.request_options import RequestOptions
from floodgate.gateway.worker_directory import WorkerDirectory
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")

# Of one call: a script stops all others while it runs.
BATCH_TASKS = 256
BATCH_BYTES = 512 * 1024
VALID_S = 1.0
"""An `admit` that a frozen server runs later than that does nothing, so that none admits what was given up."""
CALL_S = 2.0
MOST_WAIT_S = 1.0
"""Of a request, to be sent."""
SILENT_S = 0.23
"""Without an answer for so long, and the grace, Redis counts as away; short freezes refuse nobody."""
GRACE_S = 0.02
"""For the loop to read an answer that has arrived, where it runs its timers first."""
IDLE_PROBE_S = 0.25
"""Between two looks at an idle connection."""
PROBE_S = 0.1
"""Between two tries to connect while Redis is away."""
AWAY_AFTER = 2
"""Tries to connect that fail in a row: one may be cut on its way, a dead server refuses both at once."""


_BY_KEY = (AdmitCode.JOINED, AdmitCode.ENDED)
"""The codes of requests that have no slot, and need none."""


class Stage(Enum):
    """How far a request has come: cancelling it means something else at each."""

    LOCAL = auto()
    SENT = auto()
    UNANSWERED = auto()
    """Sent, and the call has ended without an answer: it may have been admitted."""
    ADMITTED = auto()
    JOINED = auto()
    """It waits for the task of another request, by its `Idempotency-Key`: it has no slot, and is no 202."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One waiting request; times are of the own monotonic clock, in s."""

    id: str
    handler: Handler
    payload: Payload
    answer: asyncio.Future[Outcome]
    arrived_s: float
    deadline_s: float
    asked_s: float
    """When it was sent, or last asked after."""
    lane: str = ""
    stage: Stage = Stage.LOCAL
    cancelled: bool = False
    """Nobody waits any more."""
    moving: bool = False
    """It is being taken off its lane: that it is not in the queue says nothing."""
    accept_on_admit: bool = False
    """`Prefer: respond-async`: its client is told of the admission at once."""
    wait_ms: int = 0
    """Predicted at the admission."""
    stream: Any = None
    """Its streamed answer, which has begun; `answer` is the end of it then."""
    counted: bool = False
    """Its admission is in the metrics; it may be admitted again, in another lane."""

    def accept(self) -> None:
        """Answer 202 with the id, as soon as it is admitted, and not while it may get another one."""
        self.accept_on_admit = True
        if self.stage is Stage.ADMITTED and not self.moving:
            self.settle(Outcome(accepted=self.id))

    def settle(self, answer: Outcome) -> None:
        """Answer, unless it is answered already."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def count_admission(self, metrics: GatewayMetrics) -> None:
        """Count the admission, once: a reply may tell of it before `admit` does, and it may be admitted again."""
        if not self.counted:
            self.counted = True
            metrics.admitted(self.handler)


class AdmissionBatcher:
    """Sends the admissions of a gateway process, one `admit` after the other."""

    def __init__(
        self,
        context: GatewayContext,
        pipeline: Pipeline,
        directory: WorkerDirectory,
        kept_answers: KeptAnswers,
        cancels: CancelBatcher,
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._metrics = context.metrics
        self._inbox = context.process
        self._pipeline = pipeline
        self._directory = directory
        self._cancels = cancels
        self._kept_answers = kept_answers
        self._has_keys = False
        """The batch that is sent has a request with an `Idempotency-Key`."""
        self._again: deque[PendingRequest] = deque()
        """Those with an `Idempotency-Key` whose `admit` had no answer."""
        self._sent_again: set[PendingRequest] = set()
        self._local: deque[PendingRequest] = deque()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._probe_timer: asyncio.TimerHandle
        self._is_away = False
        """Redis does not answer: whoever comes is refused at once."""
        self.doubts_declaration = False
        """Redis knows no worker for a lane that is served: this process's declaration may be gone."""

    def submit(self, pending: PendingRequest) -> None:
        """Queue a request for the next batch; refuse it while Redis does not answer."""
        if self._is_away:
            pending.settle(Outcome(failure=Failure.UNAVAILABLE))
            return
        self._local.append(pending)
        self._some.set()

    async def run(self) -> None:
        """Admit for ever; ends by cancellation."""
        self._probe()
        try:
            await self._run()
        finally:
            self._probe_timer.cancel()

    def _probe(self) -> None:
        """Wake the sender where its connection was lost: without a request it would never know, and never be ready."""
        self._probe_timer = self._loop.call_later(IDLE_PROBE_S, self._probe)
        if not self._pipeline.is_open:
            self._some.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                with self._watched():
                    # It may have been cut while there was nothing to do: what is not sent can still be refused.
                    await self._pipeline.open()
                self._is_away, failures = False, 0
                if batch := self._batch():
                    with self._watched():
                        await self._send(batch)
            except FloodgateError as error:
                failures += 1
                if failures == AWAY_AFTER:
                    log.warning("no admissions: waiting for Redis", extra=fields(reason=str(error)))
                if failures >= AWAY_AFTER:
                    self._set_away()
                    await asyncio.sleep(random.uniform(PROBE_S / 2, PROBE_S))
            else:
                if not (self._is_away or self._some.is_set()):
                    await self._some.wait()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Refuse all requests once the block takes too long; the block goes on, since a call is never sent twice."""
        self._timer = self._loop.call_later(SILENT_S, self._suspect)
        try:
            yield
        finally:
            self._timer.cancel()

    def _suspect(self) -> None:
        # A loop that was held up runs its timers before it reads what has arrived meanwhile.
        self._timer = self._loop.call_later(GRACE_S, self._set_away)

    def _set_away(self) -> None:
        self._is_away = True
        self._refuse(self._local)
        self._local.clear()
        self._some.clear()

    def _batch(self) -> list[tuple[PendingRequest, AdmitRequest]]:
        batch: list[tuple[PendingRequest, AdmitRequest]] = []
        size = 0
        self._has_keys = False
        oldest_s = time.monotonic() - MOST_WAIT_S
        while self._local and self._local[0].arrived_s < oldest_s:
            self._refuse([self._local.popleft()])
        if self._again:
            size = self._take_again(batch)
        while self._local and len(batch) < BATCH_TASKS and size < BATCH_BYTES:
            pending = self._local.popleft()
            if pending.cancelled:  # before it was sent: there is nothing to take back
                continue
            try:
                admission = self._admission(pending)
            except Exception as error:  # fails this one request, not the sender of all
                log.error(
                    "a request cannot be packed", exc_info=error, extra=fields(request_id=pending.payload.request_id)
                )
                pending.settle(Outcome(failure=Failure.FAILED))
                continue
            size += len(admission.blob)
            batch.append((pending, admission))
        if not self._local:
            self._some.clear()
        return batch

    def _admission(self, pending: PendingRequest) -> AdmitRequest:
        handler, payload = pending.handler, pending.payload
        options, caller = payload.options, payload.caller
        if options.record:  # one key is one request: the rest of its options is what others have as well
            self._has_keys, options = True, replace(options, record="")
        # Not before: while it waited to be sent, its workers may have been replaced.
        pending.lane = self._directory.lane(handler, payload.level)
        inbox = f"={self._context.settings.result_ttl_s}={self._inbox}" if options.async_response else self._inbox
        kind, header = _constant(handler.route, handler.attempts, pending.lane, inbox, options)
        deadline_ms = self._clock.at_ms(pending.deadline_s)
        stream: tuple[int, ...] = ()
        if handler.stream_s is not None:
            stream = self._clock.at_ms(pending.arrived_s + handler.stream_s), self._context.settings.stream_window_bytes
        blob = join_task(
            deadline_ms,
            header,
            payload.request_id,
            caller.id if caller else None,
            payload.path,
            payload.query,
            payload.headers,
            payload.body,
            dict(caller.claims) if caller else {},
            *stream,
        )
        return AdmitRequest(kind, pending.id, deadline_ms, blob)

    async def _send(self, batch: list[tuple[PendingRequest, AdmitRequest]]) -> None:
        sent_s = time.monotonic()
        # Before the first await: whoever leaves during the call must know that it may have been admitted.
        for pending, _ in batch:
            pending.stage, pending.asked_s = Stage.SENT, sent_s
        valid_until_ms = self._clock.now_ms() + round(VALID_S * 1000)
        call = admit(
            self._context.keys,
            valid_until_ms=valid_until_ms,
            requests=[admission for _, admission in batch],
            suppressed=self._context.rate_limiter.take_suppressed({pending.handler.route for pending, _ in batch}),
            keyed=self._keys_of(batch) if self._has_keys else (),
        )
        try:
            reply = await self._pipeline.run(call, CALL_S)
        except StoreFull:
            self._metrics.admits.failed()
            self._refuse([pending for pending, _ in batch])
        except Unavailable as error:
            self._metrics.admits.failed()
            # It may have been admitted, so it is neither sent again nor refused: the reconciler finds out which.
            log.warning("admit without an answer", extra=fields(reason=str(error), requests=len(batch)))
            for pending, _ in batch:
                if pending.stage is Stage.SENT:
                    pending.stage = Stage.UNANSWERED
                    if pending.payload.options.record:
                        self._again.append(pending)
                        self._some.set()
        except FloodgateError as error:  # a reply that cannot be read tells nobody's fate; deadlines end what is there
            self._metrics.admits.failed()
            log.error("admit was refused", extra=fields(reason=str(error)))
            for pending, _ in batch:
                pending.settle(lost(pending.handler))
        else:
            self._metrics.admits.answered(time.monotonic() - sent_s, len(batch))
            self._settle(batch, reply)

    def _settle(self, batch: list[tuple[PendingRequest, AdmitRequest]], reply: AdmitReply) -> None:
        self._clock.observe(reply.now_ms)
        if reply.stale:  # it ran past its `valid_until`, and has changed nothing
            self._refuse([pending for pending, _ in batch])
            return
        for (pending, _), result in zip(batch, reply.results, strict=True):
            if result.code is AdmitCode.ADMITTED:
                pending.stage, pending.wait_ms = Stage.ADMITTED, result.wait_ms
                pending.count_admission(self._metrics)
                if pending.cancelled or (self._sent_again and self._is_late(pending)):  # while it was sent
                    self._cancels.submit(pending.id)
                elif pending.accept_on_admit:
                    pending.accept()
            elif result.code in _BY_KEY:
                self._settle_by_key(pending, result)
            else:
                answer = Outcome(failure=FAILURE_OF[result.code], retry_after_s=result.retry_after_ms / 1000)
                pending.settle(answer)
                # A lost limit is answered like a lost worker.
                if result.code is AdmitCode.NO_WORKER and self._directory.serves(pending.lane):
                    self.doubts_declaration = True
                self._context.rate_limiter.cache(
                    pending.handler.route, pending.payload.options, answer, result.remember_ms / 1000
                )

    def _keys_of(self, batch: list[tuple[PendingRequest, AdmitRequest]]) -> list[tuple[Argument, ...]]:
        results_full = self._context.rate_limiter.results_full
        found = []
        for place, (pending, _) in enumerate(batch):
            declared, payload = pending.handler.idempotency, pending.payload
            if payload.options.record and declared is not None:
                full = self._kept_answers.full or (payload.options.async_response and results_full)
                found.append(admit_key(declared, payload, self._inbox, full).arguments(place))
        return found

    def _is_late(self, pending: PendingRequest) -> bool:
        """Tell whether it was answered while it was sent again: a reply may tell of the first time."""
        return pending in self._sent_again and pending.answer.done()

    def _take_again(self, batch: list[tuple[PendingRequest, AdmitRequest]]) -> int:
        """Send those again whose `admit` had no answer: under the same id, so that it cannot be admitted twice."""
        size = 0
        self._sent_again = {pending for pending in self._sent_again if not pending.answer.done()}
        while self._again and len(batch) < BATCH_TASKS and size < BATCH_BYTES:
            pending = self._again.popleft()
            if pending.cancelled or pending.answer.done():
                self._cancels.submit(pending.id)
                continue
            self._sent_again.add(pending)
            batch.append((pending, self._admission(pending)))
            size += len(batch[-1][1].blob)
        return size

    def _settle_by_key(self, pending: PendingRequest, result: AdmitResult) -> None:
        if result.code is AdmitCode.ENDED:
            pending.settle(Outcome(accepted=pending.id, kept=True))
            return
        pending.stage = Stage.JOINED
        if pending.cancelled:
            self._cancels.submit(pending.id)
        else:  # the earlier of both deadlines
            self._loop.call_later(result.wait_ms / 1000, _expire, pending.answer)

    def _refuse(self, requests: Iterable[PendingRequest]) -> None:
        for pending in requests:
            # of one that was sent before, this says nothing
            refusal = Outcome(failure=Failure.UNAVAILABLE)
            pending.settle(lost(pending.handler) if pending in self._sent_again else refusal)


def _expire(answer: asyncio.Future[Outcome]) -> None:
    if not answer.done():
        answer.set_result(Outcome(failure=Failure.DEADLINE_EXCEEDED))


@functools.lru_cache(maxsize=1024)
def _constant(
    route: str, attempts: int, lane: str, inbox: str, options: RequestOptions
) -> tuple[AdmissionClass, bytes]:
    """Return what is the same for all requests of a route and lane that ask for the same: their kind and header."""
    flow = flow_of(route, options.weight, options.tenant, options.async_response)
    kind = AdmissionClass(route, lane, flow, options.weight, options.share, options.budget_ms)
    return kind, pack_header(route, lane, inbox, attempts, flow, options.weight, options.budget_ms)

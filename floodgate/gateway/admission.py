"""Group commit of admissions: one `admit` under way, what arrives meanwhile is the next batch.

Never sends a call twice. An admission without an answer is `UNANSWERED`; the
seeker asks after it. Nobody waits longer than a second to be sent, and nobody at
all once Redis does not answer, until it does again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import AdmissionClass, AdmitCode, AdmitReply, AdmitRequest, admit
from floodgate.broker.envelopes import join_task, pack_header
from floodgate.broker.keys import Keys, flow_of
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import FloodgateError, StoreFull, Unavailable
from floodgate.gateway.metrics import GatewayMetrics
from floodgate.gateway.outcomes import Failure, Outcome, PendingRequest, RequestOptions, Stage, lost
from floodgate.gateway.rate_limit import Refusals
from floodgate.gateway.worker_directory import WorkerDirectory
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")

BATCH_TASKS = 256
BATCH_BYTES = 512 * 1024
VALID_S = 1.0
CALL_S = 2.0
MOST_WAIT_S = 1.0
SILENT_S = 0.23
"""Without an answer for so long, and the grace, Redis counts as away; short freezes refuse nobody."""
GRACE_S = 0.02
"""After a late turn of the loop a timer may come before the answer that lies there."""
LOOK_S = 0.25
"""Between two looks at an idle connection."""
PROBE_S = 0.1
CERTAIN = 2
"""Tries to connect that fail in a row: one may be cut on its way, a dead server refuses both at once."""
TROUBLES = {
    AdmitCode.PAUSED: Failure.PAUSED,
    AdmitCode.NO_WORKER: Failure.NO_WORKER,
    AdmitCode.LATE: Failure.TOO_LATE,
    AdmitCode.FULL: Failure.FULL,
    AdmitCode.SHARE: Failure.SHARE,
}


class AdmissionBatcher:
    """The one sender of admissions of a gateway process. `on_withdrawn` gets what was admitted for nobody."""

    def __init__(
        self,
        pipeline: Pipeline,
        keys: Keys,
        clock: RedisClock,
        lanes: WorkerDirectory,
        inbox: str,
        on_withdrawn: Callable[[PendingRequest], None],
        refusals: Refusals,
        result_ttl_s: int,
        metering: GatewayMetrics,
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._clock = clock
        self._directory = lanes
        self._inbox = inbox
        self._on_withdrawn = on_withdrawn
        self._refusals = refusals
        self._result_ttl_s = result_ttl_s
        self._metering = metering
        self._local: deque[PendingRequest] = deque()
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle
        self._is_away = False
        """Redis does not answer: whoever comes is refused at once."""
        self.doubts = False
        """Redis knows nobody for a lane that is served: our declaration may be gone."""

    def offer(self, entry: PendingRequest) -> None:
        """Queue a request for the next batch; refuse it while Redis does not answer."""
        if self._is_away:
            entry.settle(Outcome(failure=Failure.UNAVAILABLE))
            return
        self._local.append(entry)
        self._some.set()

    async def run(self) -> None:
        """Admit for ever; ends by cancellation."""
        self._look()
        try:
            await self._run()
        finally:
            self._looking.cancel()

    def _look(self) -> None:
        """Wake the sender where its connection was lost: without a request it would never know, and never be ready."""
        self._looking = self._loop.call_later(LOOK_S, self._look)
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
                if failures == CERTAIN:
                    log.warning("no admissions: waiting for Redis", extra=fields(reason=str(error)))
                if failures >= CERTAIN:
                    self._go_away()
                    await asyncio.sleep(random.uniform(PROBE_S / 2, PROBE_S))
            else:
                if not (self._is_away or self._some.is_set()):
                    await self._some.wait()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Refuse whoever waits and comes when what is done in the block takes too long; it goes on all the same."""
        self._timer = self._loop.call_later(SILENT_S, self._suspect)
        try:
            yield
        finally:
            self._timer.cancel()

    def _suspect(self) -> None:
        self._timer = self._loop.call_later(GRACE_S, self._go_away)

    def _go_away(self) -> None:
        self._is_away = True
        self._refuse_all()

    def _batch(self) -> list[tuple[PendingRequest, AdmitRequest]]:
        batch: list[tuple[PendingRequest, AdmitRequest]] = []
        size = 0
        self._refuse_old()
        while self._local and len(batch) < BATCH_TASKS and size < BATCH_BYTES:
            entry = self._local.popleft()
            if entry.cancelled:
                continue
            try:
                admission = self._admission(entry)
            except Exception as error:  # what cannot be packed is one request's misfortune, not the process's
                log.error(
                    "a request that cannot travel", exc_info=error, extra=fields(request_id=entry.payload.request_id)
                )
                entry.settle(Outcome(failure=Failure.FAILED))
                continue
            size += len(admission.blob)
            batch.append((entry, admission))
        if not self._local:
            self._some.clear()
        return batch

    def _admission(self, entry: PendingRequest) -> AdmitRequest:
        handler, payload = entry.handler, entry.payload
        options, caller = payload.options, payload.caller
        entry.lane = self._directory.lane(handler, payload.level)
        inbox = f"={self._result_ttl_s}={self._inbox}" if options.async_response else self._inbox
        kind, header = _constant(handler.route, handler.attempts, entry.lane, inbox, options)
        deadline_ms = self._clock.at_ms(entry.deadline_s)
        blob = join_task(
            deadline_ms,
            header,
            payload.request_id,
            payload.path,
            payload.query,
            payload.headers,
            payload.body,
            caller.id if caller else None,
            dict(caller.claims) if caller else {},
        )
        return AdmitRequest(kind, entry.id, deadline_ms, blob)

    async def _send(self, batch: list[tuple[PendingRequest, AdmitRequest]]) -> None:
        sent_s = time.monotonic()
        for entry, _ in batch:
            entry.stage, entry.asked_s = Stage.SENT, sent_s
        valid_until_ms = self._clock.now_ms() + round(VALID_S * 1000)
        call = admit(
            self._keys,
            valid_until_ms=valid_until_ms,
            requests=[admission for _, admission in batch],
            suppressed=self._refusals.take_missed({entry.handler.route for entry, _ in batch}),
        )
        try:
            reply = await self._pipeline.run(call, CALL_S)
        except StoreFull:
            self._metering.admits.failed()
            self._refuse(batch, Failure.UNAVAILABLE)
        except Unavailable as error:
            self._metering.admits.failed()
            log.warning("an admission without an answer", extra=fields(reason=str(error), requests=len(batch)))
            for entry, _ in batch:
                if entry.stage is Stage.SENT:
                    entry.stage = Stage.UNANSWERED
        except FloodgateError as error:
            self._metering.admits.failed()
            log.error("admit was refused", extra=fields(reason=str(error)))
            for entry, _ in batch:
                entry.settle(lost(entry))
        else:
            self._metering.admits.answered(time.monotonic() - sent_s, len(batch))
            self._settle(batch, reply)

    def _settle(self, batch: list[tuple[PendingRequest, AdmitRequest]], reply: AdmitReply) -> None:
        self._clock.observe(reply.now_ms)
        if reply.stale:
            self._refuse(batch, Failure.UNAVAILABLE)
            return
        for (entry, _), result in zip(batch, reply.results, strict=True):
            if result.code is AdmitCode.ADMITTED:
                entry.stage, entry.wait_ms = Stage.ADMITTED, result.wait_ms
                self._metering.admitted(entry)
                if entry.cancelled:
                    self._on_withdrawn(entry)
                elif entry.accept_on_admit:
                    entry.accept()
            else:
                answer = Outcome(failure=TROUBLES[result.code], retry_after_s=result.retry_after_ms / 1000)
                entry.settle(answer)
                if result.code is AdmitCode.NO_WORKER and self._directory.serves(entry.lane):
                    self.doubts = True
                self._refusals.remember(entry.handler.route, entry.payload.options, answer, result.remember_ms / 1000)

    def _refuse(self, batch: list[tuple[PendingRequest, AdmitRequest]], failure: Failure) -> None:
        for entry, _ in batch:
            entry.settle(Outcome(failure=failure))

    def _refuse_old(self) -> None:
        oldest_s = time.monotonic() - MOST_WAIT_S
        while self._local and self._local[0].arrived_s < oldest_s:
            self._local.popleft().settle(Outcome(failure=Failure.UNAVAILABLE))

    def _refuse_all(self) -> None:
        while self._local:
            self._local.popleft().settle(Outcome(failure=Failure.UNAVAILABLE))
        self._some.clear()


@functools.lru_cache(maxsize=1024)
def _constant(
    route: str, attempts: int, lane: str, inbox: str, options: RequestOptions
) -> tuple[AdmissionClass, bytes]:
    """Return what is the same for all requests of a route and lane that ask for the same: their kind and header."""
    flow = flow_of(route, options.weight, options.tenant, options.async_response)
    kind = AdmissionClass(route, lane, flow, options.weight, options.share, options.budget_ms)
    return kind, pack_header(route, lane, inbox, attempts, flow, options.weight, options.budget_ms)

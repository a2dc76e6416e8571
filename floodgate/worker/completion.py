"""Sends what ended back to the gateways: one `complete` under way, the rest waits as the next batch.

`complete` may be repeated blindly, so a broken connection costs a repetition and
nothing else. Until it is answered, its leases count as held and are renewed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from floodgate.broker.backoff import Backoff
from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import Claimed, Completion, complete
from floodgate.broker.envelopes import TaskOutcome, TaskReply, inbox_of, pack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DecodeError, FloodgateError
from floodgate.operations.logs import fields
from floodgate.worker.metrics import STOPPED, WorkerMetrics
from floodgate.worker.runs import Ended, Phase

log = logging.getLogger("floodgate.worker")

BATCH_TASKS = 256
BATCH_BYTES = 512 * 1024
CALL_S = 5.0


class CompletionBatcher:
    """The one sender of replies of a worker process."""

    def __init__(self, pipeline: Pipeline, keys: Keys, clock: RedisClock, metering: WorkerMetrics) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._clock = clock
        self._metering = metering
        self._waiting: deque[Completion] = deque()
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self.leases: dict[str, str] = {}
        """Lease to route, of what ended and is not acknowledged yet."""

    def fail(self, lease: str, claimed: Claimed) -> None:
        """Answer a task that cannot be read, as far as the readable part says to whom."""
        route = claimed.id.partition(".")[0]
        inbox = inbox_of(claimed.blob)
        reply = pack_reply(TaskReply(claimed.id, TaskOutcome.FAILED)) if inbox else b""
        self._add(Completion(lease, claimed.id, route, "", "", inbox, 0, 0, False, False, reply))

    def add(self, ended: Ended) -> None:
        """Take the end of a run; the claimer's lease is kept until Redis answered."""
        run, task = ended.run, ended.run.task
        wanted = run.phase is not Phase.STOPPED
        outcome = ended.reply.outcome.value if wanted else STOPPED
        self._metering.routes[task.route].ended(outcome, time.monotonic() - run.started_s)
        reply = pack_reply(ended.reply) if wanted else b""
        self._add(
            Completion(
                run.lease,
                run.task_id,
                task.route,
                task.lane,
                task.flow,
                task.inbox,
                task.budget_ms,
                ended.run_ms,
                ended.in_time,
                wanted,
                reply,
                ended.reply.outcome is TaskOutcome.FAILED,
            )
        )

    def _add(self, completion: Completion) -> None:
        self.leases[completion.lease] = completion.route
        self._waiting.append(completion)
        self._some.set()
        self._none.clear()

    async def flushed(self) -> None:
        """Return when every reply is acknowledged."""
        await self._none.wait()

    async def run(self) -> None:
        """Send for ever; ends by cancellation."""
        backoff = Backoff()
        while True:
            await self._some.wait()
            batch = self._batch()
            while True:
                sent_s = time.monotonic()
                try:
                    answer = await self._pipeline.run(complete(self._keys, batch), CALL_S)
                    self._clock.observe(answer.now_ms)
                    self._metering.completes.answered(time.monotonic() - sent_s, len(batch))
                    break
                except DecodeError as error:
                    self._metering.completes.failed()
                    log.error("complete answered garbage", extra=fields(reason=str(error)))
                    break
                except FloodgateError as error:
                    self._metering.completes.failed()
                    log.warning("replies wait for Redis", extra=fields(reason=str(error), replies=len(batch)))
                    await asyncio.sleep(backoff.next_s())
            backoff.reset()
            self._forget(batch)

    def _batch(self) -> list[Completion]:
        batch = [self._waiting.popleft()]
        size = len(batch[0].reply)
        while self._waiting and len(batch) < BATCH_TASKS and size + len(self._waiting[0].reply) <= BATCH_BYTES:
            size += len(self._waiting[0].reply)
            batch.append(self._waiting.popleft())
        return batch

    def _forget(self, batch: list[Completion]) -> None:
        for completion in batch:
            self.leases.pop(completion.lease, None)
        if not self._waiting:
            self._some.clear()
            if not self.leases:
                self._none.set()

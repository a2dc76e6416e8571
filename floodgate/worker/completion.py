"""Sends the ends of runs to Redis: one `complete` is under way, what ends meanwhile is the next batch.

`complete` may be repeated blindly, so a broken connection costs a repetition and
nothing else. Until it is answered its leases count as held, and are renewed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from floodgate.broker.backoff import Backoff
from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import MAX_BATCH, Claimed, Completion, complete
from floodgate.broker.connection import Pool
from floodgate.broker.envelopes import TaskOutcome, TaskReply, inbox_of, pack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DecodeError, FloodgateError
from floodgate.operations.logs import fields
from floodgate.worker.executor import Ended, Phase
from floodgate.worker.metrics import STOPPED, WorkerMetrics

log = logging.getLogger("floodgate.worker")

BATCH_BYTES = 512 * 1024
"""Of replies in one call, or one that is larger: a script stops all others while it runs."""
CALL_S = 5.0


class CompletionBatcher:
    """Gathers the ends of all runs of a worker process and sends them in batches."""

    def __init__(self, pool: Pool, keys: Keys, clock: RedisClock, metrics: WorkerMetrics) -> None:
        self._pipeline = Pipeline(pool, self)
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Completion] = deque()
        self._has_waiting = asyncio.Event()
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self.leases: dict[str, str] = {}
        """Lease to route, of runs that have ended and whose `complete` is not answered yet."""

    def fail(self, lease: str, claimed: Claimed) -> None:
        """Fail a task that cannot be read; the client hears of it if at least the inbox can be read."""
        route = claimed.id.partition(".")[0]
        inbox = inbox_of(claimed.blob)
        reply = pack_reply(TaskReply(claimed.id, TaskOutcome.FAILED)) if inbox else b""
        self._add(Completion(lease, claimed.id, route, "", "", inbox, 0, 0, False, False, reply))

    def add(self, ended: Ended) -> None:
        """Take a run that has ended; its lease is held until Redis has answered."""
        run, task = ended.run, ended.run.task
        wanted = run.phase is not Phase.STOPPED  # else nobody waits: the slot is freed, and no reply is sent
        outcome = ended.reply.outcome.value if wanted else STOPPED
        self._metrics.routes[task.route].ended(outcome, time.monotonic() - run.started_s)
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
                ended.reply.run_ms,
                ended.in_time,
                wanted,
                reply,
                ended.reply.outcome is TaskOutcome.FAILED,
                run.extended,
            )
        )

    def _add(self, completion: Completion) -> None:
        self.leases[completion.lease] = completion.route
        self._waiting.append(completion)
        self._has_waiting.set()
        self._all_answered.clear()

    async def flushed(self) -> None:
        """Return when every `complete` is answered."""
        await self._all_answered.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        backoff = Backoff()
        while True:
            await self._has_waiting.wait()
            batch = self._batch()
            while True:
                sent_s = time.monotonic()
                try:
                    answer = await self._pipeline.run(complete(self._keys, batch), CALL_S)
                    self._clock.observe(answer.now_ms)
                    self._metrics.completes.answered(time.monotonic() - sent_s, len(batch))
                    break
                except DecodeError as error:
                    self._metrics.completes.failed()
                    log.error(
                        "the answer of complete cannot be read", extra=fields(reason=str(error), replies=len(batch))
                    )
                    break
                except FloodgateError as error:
                    self._metrics.completes.failed()
                    log.warning("replies wait for Redis", extra=fields(reason=str(error), replies=len(batch)))
                    await asyncio.sleep(backoff.next_s())
            backoff.reset()
            self._forget(batch)

    async def on_open(self, pipeline: Pipeline) -> None:
        self._metrics.connects.opened("complete")

    def _batch(self) -> list[Completion]:
        batch = [self._waiting.popleft()]
        size = len(batch[0].reply)
        while self._waiting and len(batch) < MAX_BATCH and size + len(self._waiting[0].reply) <= BATCH_BYTES:
            size += len(self._waiting[0].reply)
            batch.append(self._waiting.popleft())
        return batch

    def _forget(self, batch: list[Completion]) -> None:
        for completion in batch:
            self.leases.pop(completion.lease, None)
        if not self._waiting:
            self._has_waiting.clear()
            if not self.leases:
                self._all_answered.set()

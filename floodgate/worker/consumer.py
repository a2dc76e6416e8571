"""Claims tasks for one executor, and starts them.

Owns the claim connection and the serial of its calls. While there is nothing it is
parked: a `BLPOP` and a claim go out in one write, so that the server itself runs the
claim the moment there is work. It parks only with free concurrency and on lanes it is
registered for, and claims without parking after a connect, after an error and after a
run has freed a place: whoever takes a wake-up marker must be able to take the work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from floodgate.broker.backoff import Backoff
from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import MAX_BATCH, Call, Claimed, ClaimReply, Released, claim, reclaim, release
from floodgate.broker.connection import Pool, redis_errors
from floodgate.broker.envelopes import unpack_task
from floodgate.broker.eviction import Eviction
from floodgate.broker.keys import Keys, lease_of
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DecodeError, FloodgateError
from floodgate.operations.logs import fields
from floodgate.worker.completion import CompletionBatcher
from floodgate.worker.executor import Executor
from floodgate.worker.heartbeat import Heartbeat
from floodgate.worker.metrics import REQUEUED, WorkerMetrics

log = logging.getLogger("floodgate.worker")

BLOCK_S = 3.0
SLACK_S = 1.5
"""A parked read may take this much longer than its block before the connection counts as dead."""
CALL_S = 2.0
CLEANUP_S = 0.5
"""How long a handler that is stopped at the end of a drain may clean up before its task is requeued."""
SILENT_S = BLOCK_S + SLACK_S + CALL_S
"""A consumer without an answer to any claim for so long does not work, whatever its renewals say."""
FULL_S = 0.1
"""A consumer that is full for so long listens to its control channel: short runs make no calls for it."""
LISTEN_S = 1.0
CLAIM_BYTES = 512 * 1024


class Consumer:
    """Claims for one executor of one worker process."""

    def __init__(
        self,
        pool: Pool,
        keys: Keys,
        clock: RedisClock,
        executor: Executor,
        completions: CompletionBatcher,
        heartbeat: Heartbeat,
        *,
        process: str,
        release: str,
        lanes: Sequence[str],
        lease_ms: int,
        metrics: WorkerMetrics,
        eviction: Eviction,
    ) -> None:
        # The reaper reads lease and concurrency from the name: they may differ between processes.
        self.name = f"{process}-{lease_ms}.{executor.kind}.{executor.concurrency}"
        self.lanes = lanes
        self.executor = executor
        self._keys = keys
        self._clock = clock
        self._completions = completions
        self._heartbeat = heartbeat
        self._lease_ms = lease_ms
        self._metrics = metrics
        self._eviction = eviction
        self._pool_name = f"{release}:{executor.kind}"
        self._serial = 0
        self._last_read = 0
        """Serial of the last claim whose reply was read: `join` returns the leases of later ones to the queue."""
        self._answered_s = -math.inf
        self.leaving = False
        self._full = asyncio.Event()
        """Set while nothing can be claimed."""
        self._pipeline = Pipeline(pool, self)
        self._listening = Pipeline(pool)

    @property
    def working(self) -> bool:
        """Tell whether it is registered, and claims or is full; not while all that runs is stuck."""
        claims = self.executor.free == 0 or time.monotonic() - self._answered_s < SILENT_S
        return claims and not self.executor.stuck and self._heartbeat.registers(self)

    def leases(self) -> Mapping[str, str]:
        """Return lease to route of all that this consumer holds, ends that are not acknowledged yet included."""
        ended = {lease: r for lease, r in self._completions.leases.items() if lease.startswith(f"{self.name}#")}
        return {**ended, **{lease: run.task.route for lease, run in self.executor.runs.items()}}

    def stop(self, lease: str) -> bool:
        return self.executor.stop(lease)

    async def run(self) -> None:
        """Claim until `leave`; survives every loss of Redis."""
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen_while_full())
            await self._claim_until_leave()
            listening.cancel()

    async def leave(self) -> None:
        """Claim nothing more; the end of the registration wakes a parked claim."""
        self.leaving = True
        self.executor.freed.set()
        await self._heartbeat.renew(self)

    async def requeue(self) -> None:
        """Return the tasks that still run to the queue; each was started, so it counts as an attempt."""
        runs = self.executor.release()
        if not runs:
            return
        # Handlers end first: then the next attempt overlaps only with those that cannot be stopped.
        await asyncio.wait([run.work for run in runs if run.work is not None], timeout=CLEANUP_S)
        for run in runs:
            self._metrics.routes[run.task.route].ended(REQUEUED, time.monotonic() - run.started_s)
        items = [Released(run.lease, run.task_id, run.task.route, True) for run in runs]
        for at in range(0, len(items), MAX_BATCH):
            await self._pipeline.run(release(self._keys, items[at : at + MAX_BATCH]), CALL_S)
        log.warning("requeued unfinished tasks", extra=fields(consumer=self.name, tasks=len(runs)))

    async def _claim_until_leave(self) -> None:
        backoff = Backoff()
        while not self.leaving:
            try:
                await self._pipeline.open()
                await self._claim_until_broken(backoff)
            except FloodgateError as error:
                self._metrics.claims.failed()
                await self._pipeline.close()  # the next connect begins with `join`: the leases of a lost claim return
                if not self.leaving:
                    log.warning("no claims: waiting for Redis", extra=fields(consumer=self.name, reason=str(error)))
                    await asyncio.sleep(backoff.next_s())
        await self._pipeline.close()

    async def on_open(self, pipeline: Pipeline) -> None:
        self._metrics.connects.opened("claim")
        if self.leaving:
            return
        await self._eviction.look(pipeline)
        await self._heartbeat.renew(self)
        call = reclaim(self._keys, consumer=self.name, last_serial=self._last_read, known=self.leases().keys())
        reply = await pipeline.run(call, CALL_S)
        self._clock.observe(reply.now_ms)

    async def _claim_until_broken(self, backoff: Backoff) -> None:
        parks = False
        while not self.leaving:
            if self.executor.free == 0:
                parks = False
                await self._wait_until_freed()
                continue
            reply, popped = await (self._park() if parks else self._claim())
            backoff.reset()
            # A claim takes its share only and may leave work behind; its marker is there, and parking returns at once.
            parks = True
            if reply.malformed:
                log.error("malformed tasks dropped from the queue", extra=fields(count=reply.malformed))
            # Started first: the control channel may name a task of this very claim, and what follows may fail.
            for claimed in reply.tasks:
                self._start(claimed)
            await self._stop_named(self._pipeline, popped)
            if not reply.registered:
                await self._heartbeat.renew(self)

    async def _wait_until_freed(self) -> None:
        self._full.set()
        self.executor.freed.clear()
        await self.executor.freed.wait()
        self._full.clear()
        self._answered_s = time.monotonic()  # while it was full there was nothing to be answered

    def _call(self, valid_s: float) -> Call[ClaimReply]:
        self._serial += 1
        return claim(
            self._keys,
            valid_until_ms=self._clock.now_ms() + round(valid_s * 1000),
            consumer=self.name,
            serial=self._serial,
            free=min(self.executor.free, MAX_BATCH),
            lease_ms=self._lease_ms,
            max_bytes=CLAIM_BYTES,
            pool=self._pool_name,
            lanes=self.lanes,
        )

    async def _claim(self) -> tuple[ClaimReply, Any]:
        call, sent_s = self._call(1.0), time.monotonic()
        reply = self._read(await self._pipeline.run(call, CALL_S))
        self._metrics.claims.answered(time.monotonic() - sent_s, len(reply.tasks))
        return reply, None

    async def _park(self) -> tuple[ClaimReply, Any]:
        """Return what the claim brought, and what `BLPOP` popped."""
        call = self._call(BLOCK_S + 1.0)
        wakes = [self._keys.wake(lane) for lane in self.lanes]
        block = ("BLPOP", self._keys.control(self.name), *wakes, str(BLOCK_S))
        popped, answer = await self._pipeline.execute([block, call.evalsha], BLOCK_S + SLACK_S)
        reply = self._read(await self._pipeline.result(call, answer, CALL_S))
        self._metrics.claims.brought(len(reply.tasks))
        return reply, popped

    def _read(self, reply: ClaimReply) -> ClaimReply:
        self._last_read, self._answered_s = self._serial, time.monotonic()
        self._clock.observe(reply.now_ms)
        return reply

    async def _listen_while_full(self) -> None:
        """Read the control channel while no claim is parked on it; on another connection, as nothing ends a `BLPOP`."""
        block = ("BLPOP", self._keys.control(self.name), str(LISTEN_S))
        backoff = Backoff()
        try:
            while True:
                await self._full.wait()
                await asyncio.sleep(FULL_S)
                if not self._full.is_set():
                    continue
                try:
                    await self._listening.open()
                    (popped,) = await self._listening.execute([block], LISTEN_S + SLACK_S)
                    await self._stop_named(self._listening, popped)
                    backoff.reset()
                except FloodgateError:  # not logged: the renewals say that Redis is away
                    await asyncio.sleep(backoff.next_s())
        finally:
            await self._listening.close()

    async def _stop_named(self, pipeline: Pipeline, popped: Any) -> None:
        """Stop the tasks that the control channel names; all but the first are still in it."""
        channel = self._keys.control(self.name)
        if isinstance(popped, Exception):
            with redis_errors():
                raise popped
        if not isinstance(popped, list) or popped[0] != channel.encode():
            return
        (rest,) = await pipeline.execute([("LPOP", channel, 1000)], CALL_S)
        for task_id in (popped[1], *(rest if isinstance(rest, list) else ())):
            self.executor.stop_task(task_id.decode("ascii", "replace"))

    def _start(self, claimed: Claimed) -> None:
        lease = lease_of(self.name, self._serial, claimed.id)
        try:
            task = unpack_task(claimed.blob)
            if task.route not in self.executor.calls or not claimed.id.startswith(f"{task.route}."):
                raise DecodeError("a task of a route that is not served here")
        except DecodeError as error:
            log.error("a task that cannot be read", extra=fields(task=claimed.id, reason=str(error)))
            self._metrics.malformed.add()
            self._completions.fail(lease, claimed)
        else:
            left_s = (task.deadline_ms - self._clock.now_ms()) / 1000
            self._metrics.routes[task.route].started()
            self.executor.start(lease, claimed.id, task, claimed.attempts_used, left_s)

"""One per executor: claims what there is room for, parks when there is nothing, starts what it got.

Owns the claim connection and the serial of its calls. The rule of the baton is
here: it parks only with room, only on lanes it is registered for, and claims
unparked after a connect, an error, and after gaining room.
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
from floodgate.broker.commands import MAX_BATCH, Call, Claimed, ClaimReply, Released, claim, join, release
from floodgate.broker.connection import Pool
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
from floodgate.worker.runs import Event

log = logging.getLogger("floodgate.worker")

BLOCK_S = 3.0
SLACK_S = 1.5
"""A parked read may take this much longer than its block before the connection counts as dead."""
CALL_S = 2.0
STOP_S = 0.5
"""How long a stopped handler may clean up before its task is given back."""
MEND_S = 0.2
"""Between two looks at a baton of the wrong type, which `reap` drops: parking on it returns at once."""
SILENT_S = BLOCK_S + SLACK_S + CALL_S
"""Without an answer to any claim for so long, this claimer does not work, whatever its renewals say."""
FULL_S = 0.1
"""Without room for so long, a claimer listens to its bell: short runs make no calls for it."""
LISTEN_S = 1.0
CLAIM_BYTES = 512 * 1024
MOST_TASKS = 256


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
        contract: str,
        lanes: Sequence[str],
        lease_ms: int,
        metering: WorkerMetrics,
        eviction: Eviction,
    ) -> None:
        # reap knows by it how long its registration and its leases last: processes may differ
        self.name = f"{process}-{lease_ms}.{executor.kind}.{executor.places}"
        self.lanes = lanes
        self.executor = executor
        self._keys = keys
        self._clock = clock
        self._completions = completions
        self._heartbeat = heartbeat
        self._lease_ms = lease_ms
        self._metering = metering
        self._eviction = eviction
        self._pool_name = f"{contract}:{executor.kind}"
        self._serial = 0
        self._last_read = 0
        self._answered_s = -math.inf
        self.leaving = False
        self._full = asyncio.Event()
        """Set while there is no room to claim."""
        self._pipeline = Pipeline(pool, self._on_open)
        self._listening = Pipeline(pool)

    @property
    def working(self) -> bool:
        """Tell whether it is registered, and claims or has no room to; not while all its places are stuck."""
        claims = self.executor.room == 0 or time.monotonic() - self._answered_s < SILENT_S
        return claims and not self.executor.stuck and self._heartbeat.registers(self)

    def leases(self) -> Mapping[str, str]:
        """Return lease to route of everything this claimer holds, unacknowledged ends included."""
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

    async def _claim_until_leave(self) -> None:
        backoff = Backoff()
        while not self.leaving:
            try:
                await self._pipeline.open()
                await self._claim_until_broken(backoff)
            except FloodgateError as error:
                self._metering.claims.failed()
                await self._pipeline.close()  # the next one begins with a join: a lost claim's leases go back
                if not self.leaving:
                    log.warning("no claims: waiting for Redis", extra=fields(consumer=self.name, reason=str(error)))
                    await asyncio.sleep(backoff.next_s())
        await self._pipeline.close()

    async def leave(self) -> None:
        """Take nothing more; the bell ends a parked claim."""
        self.leaving = True
        self.executor.gained_room.set()
        await self._heartbeat.renew(self)

    async def give_back(self) -> None:
        """Return what still runs: it had started, so it counts as a try."""
        runs = list(self.executor.runs.values())
        if not runs:
            return
        for run in runs:
            self.executor.tell(run, Event.RELEASE)
        # First the end, then the release: the next start then overlaps only with what does not let itself be stopped.
        await asyncio.wait([run.work for run in runs if run.work is not None], timeout=STOP_S)
        for run in runs:
            self._metering.routes[run.task.route].ended(REQUEUED, time.monotonic() - run.started_s)
        items = [Released(run.lease, run.task_id, run.task.route, True) for run in runs]
        for at in range(0, len(items), MAX_BATCH):
            await self._pipeline.run(release(self._keys, items[at : at + MAX_BATCH]), CALL_S)
        log.warning("gave back unfinished work", extra=fields(consumer=self.name, tasks=len(runs)))

    async def _on_open(self, pipeline: Pipeline) -> None:
        self._metering.connects.opened("claim")
        if self.leaving:
            return
        await self._eviction.look(pipeline)
        await self._heartbeat.renew(self)
        call = join(self._keys, consumer=self.name, last_serial=self._last_read, known=self.leases().keys())
        reply = await pipeline.run(call, CALL_S)
        self._clock.observe(reply.now_ms)

    async def _claim_until_broken(self, backoff: Backoff) -> None:
        parked = False
        while not self.leaving:
            if self.executor.room == 0:
                parked = False
                self._full.set()
                self.executor.gained_room.clear()
                await self.executor.gained_room.wait()
                self._full.clear()
                self._answered_s = time.monotonic()  # it had no room to claim
                continue
            reply, rung = await (self._park() if parked else self._claim())
            backoff.reset()
            # The share of a claim may leave work behind; then its baton lies there and parking returns at once.
            parked = True
            if reply.garbage:
                log.error("garbage in the queue dropped", extra=fields(count=reply.garbage))
            # First the start: a bell may ring for a task of the same turn, and what follows may fail.
            for claimed in reply.tasks:
                self._start(claimed)
            await self._hear(self._pipeline, rung)
            if not reply.registered:
                await self._heartbeat.renew(self)

    def _call(self, valid_s: float) -> Call[ClaimReply]:
        self._serial += 1
        return claim(
            self._keys,
            valid_until_ms=self._clock.now_ms() + round(valid_s * 1000),
            consumer=self.name,
            serial=self._serial,
            room=min(self.executor.room, MOST_TASKS),
            lease_ms=self._lease_ms,
            max_bytes=CLAIM_BYTES,
            pool=self._pool_name,
            lanes=self.lanes,
        )

    async def _claim(self) -> tuple[ClaimReply, Any]:
        call, sent_s = self._call(1.0), time.monotonic()
        claimed = self._read(await self._pipeline.run(call, CALL_S))
        self._metering.claims.answered(time.monotonic() - sent_s, len(claimed.tasks))
        return claimed, None

    async def _park(self) -> tuple[ClaimReply, Any]:
        """Return what it claimed, and what woke it."""
        call = self._call(BLOCK_S + 1.0)
        wakes = [self._keys.wake(lane) for lane in self.lanes]
        block = ("BLPOP", self._keys.bell(self.name), *wakes, str(BLOCK_S))
        rung, reply = await self._pipeline.exchange([block, call.evalsha], BLOCK_S + SLACK_S)
        claimed = self._read(await self._pipeline.result(call, reply, CALL_S))
        self._metering.claims.brought(len(claimed.tasks))
        return claimed, rung

    def _read(self, reply: ClaimReply) -> ClaimReply:
        self._last_read, self._answered_s = self._serial, time.monotonic()
        self._clock.observe(reply.now_ms)
        return reply

    async def _listen_while_full(self) -> None:
        """Hear the bell while no claim is parked on it; on a connection of its own, since room ends no `BLPOP`."""
        bell = ("BLPOP", self._keys.bell(self.name), str(LISTEN_S))
        backoff = Backoff()
        try:
            while True:
                await self._full.wait()
                await asyncio.sleep(FULL_S)
                if not self._full.is_set():
                    continue
                try:
                    await self._listening.open()
                    (rung,) = await self._listening.exchange([bell], LISTEN_S + SLACK_S)
                    await self._hear(self._listening, rung)
                    backoff.reset()
                except FloodgateError:  # the renewals say the same, and say that Redis is away
                    await asyncio.sleep(backoff.next_s())
        finally:
            await self._listening.close()

    async def _hear(self, pipeline: Pipeline, rung: Any) -> None:
        """Stop what the bell names. Its rest is fetched without waiting."""
        if isinstance(rung, Exception) and str(rung).startswith("WRONGTYPE"):
            log.error("garbage in the place of a bell or a baton: dropped", extra=fields(consumer=self.name))
            await pipeline.exchange([("DEL", self._keys.bell(self.name))], CALL_S)
            await asyncio.sleep(MEND_S)
            return
        if not isinstance(rung, list) or rung[0] != self._keys.bell(self.name).encode():
            return
        (rest,) = await pipeline.exchange([("LPOP", self._keys.bell(self.name), 1000)], CALL_S)
        items = (rung[1], *(rest if isinstance(rest, list) else ()))
        for item in items:
            self.executor.stop_task(item.decode("ascii", "replace"))

    def _start(self, claimed: Claimed) -> None:
        lease = lease_of(self.name, self._serial, claimed.id)
        try:
            task = unpack_task(claimed.blob)
            if task.route not in self.executor.plans or not claimed.id.startswith(f"{task.route}."):
                raise DecodeError("a task of a route that is not served here")
        except DecodeError as error:
            log.error("a task that cannot be read", extra=fields(task=claimed.id, reason=str(error)))
            self._metering.malformed.add()
            self._completions.fail(lease, claimed)
        else:
            left_s = (task.deadline_ms - self._clock.now_ms()) / 1000
            self._metering.routes[task.route].started()
            self.executor.start(lease, claimed.id, task, claimed.tries_used, left_s)

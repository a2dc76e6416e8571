"""Keeps a worker's claimers registered and its leases alive, five times per lease.

A lease that is gone belongs to somebody else now; one that is unwanted has
nobody waiting: both are told to the executor.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import RenewReply, renew
from floodgate.broker.connection import Client, run
from floodgate.broker.keys import Keys
from floodgate.errors import FloodgateError
from floodgate.operations.logs import fields
from floodgate.worker.metrics import WorkerMetrics

log = logging.getLogger("floodgate.worker")


class Holder(Protocol):
    """A claimer, as far as renewal is concerned."""

    name: str
    lanes: Sequence[str]
    leaving: bool

    def leases(self) -> Mapping[str, str]: ...

    def stop(self, lease: str) -> bool: ...


class Heartbeat:
    """Renews for all claimers of one process. `declare` is called when one may have joined anew, until it works."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        clock: RedisClock,
        lease_ms: int,
        registration_ms: int,
        declare: Callable[[], Awaitable[None]],
        metering: WorkerMetrics,
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._lease_ms = lease_ms
        self._registration_ms = registration_ms
        self._declare = declare
        self._metering = metering
        self._renewed: dict[str, float] = {}
        self._undeclared = True
        self._turn = asyncio.Lock()

    def registers(self, holder: Holder) -> bool:
        """Tell whether the claimer is registered at this moment, as far as this process knows."""
        return time.monotonic() - self._renewed.get(holder.name, -math.inf) < self._registration_ms / 1000

    async def renew(self, holder: Holder) -> None:
        """Renew once, or take leave if the holder is leaving; raises what `run` does.

        One at a time: a renewal that overtakes the leave would register a worker that is gone.
        """
        async with self._turn:
            try:
                await self._renew(holder, holder.leaving)
            except FloodgateError:
                self._undeclared = True  # it may have joined all the same, and the next one would not say so
                raise

    async def _renew(self, holder: Holder, leave: bool) -> None:
        held, sent_s = holder.leases(), time.monotonic()
        reply = await run(
            self._client,
            renew(
                self._keys,
                consumer=holder.name,
                register_ms=0 if leave else self._registration_ms,
                lease_ms=self._lease_ms,
                lanes=holder.lanes,
                leases=[(route, lease) for lease, route in held.items()],
            ),
            self._lease_ms / 1000 / 5,
        )
        self._clock.observe(reply.now_ms)
        self._metering.renewals.answered(time.monotonic() - sent_s, len(held))
        self._renewed[holder.name] = -math.inf if leave else time.monotonic()
        self._heed(holder, reply)
        if reply.joined:
            log.info("registered", extra=fields(consumer=holder.name, lanes=len(holder.lanes)))
        if (reply.joined or self._undeclared) and not leave:
            await self._declare()
            self._undeclared = False

    async def keep(self, holder: Holder) -> None:
        """Renew for ever; ends by cancellation."""
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / 5)
            try:
                await self.renew(holder)
            except FloodgateError as error:
                self._metering.renewals.failed()
                log.warning("renewal failed", extra=fields(consumer=holder.name, reason=str(error)))

    def _heed(self, holder: Holder, reply: RenewReply) -> None:
        for lease in reply.cancelled:
            holder.stop(lease)
        # Not those of runs that ended meanwhile: their `complete` overtook the renewal.
        if gone := sum(holder.stop(lease) for lease in reply.gone):
            self._metering.gone.add(gone)
            log.warning("leases are gone", extra=fields(consumer=holder.name, leases=gone))

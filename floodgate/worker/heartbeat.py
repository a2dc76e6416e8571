"""Renews the registrations of a worker's consumers and the leases of its running tasks, five times per lease.

A lease that is gone belongs to another worker, and one that is unwanted has no client
any more: the executor stops both.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import RenewReply, declare, renew
from floodgate.broker.connection import Client, run
from floodgate.broker.keys import Keys
from floodgate.declare.registry import Registry
from floodgate.errors import FloodgateError
from floodgate.operations.logs import fields
from floodgate.operations.settings import Settings
from floodgate.worker.metrics import WorkerMetrics

log = logging.getLogger("floodgate.worker")


class LeaseHolder(Protocol):
    """A consumer, as far as its heartbeat is concerned."""

    name: str
    lanes: Sequence[str]
    leaving: bool

    def leases(self) -> Mapping[str, str]: ...

    def stop(self, lease: str) -> bool: ...


class Heartbeat:
    """Registers, declares and renews for all consumers of one process, which serve `lanes` together."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        clock: RedisClock,
        settings: Settings,
        registry: Registry,
        lanes: Sequence[str],
        started_s: float,
        metrics: WorkerMetrics,
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._lease_ms = settings.lease_ms
        self._registration_ms = settings.registration_ms
        self._renew_s = settings.renew_s
        self._registry = registry
        self._lanes = lanes
        self._started_s = started_s
        self._metrics = metrics
        self._renewed_s: dict[str, float] = {}
        self._declared = False
        self._turn = asyncio.Lock()

    def registers(self, holder: LeaseHolder) -> bool:
        """Tell whether the consumer is registered at this moment, as far as this process knows."""
        return time.monotonic() - self._renewed_s.get(holder.name, -math.inf) < self._registration_ms / 1000

    async def renew(self, holder: LeaseHolder) -> None:
        """Renew once, or end the registration of a holder that is leaving; raises what `run` does.

        One at a time: a renewal that overtakes the leave would register a worker that is gone.
        """
        async with self._turn:
            try:
                await self._renew(holder, holder.leaving)
            except FloodgateError:
                self._declared = False  # it may have registered all the same, and the next renewal would not tell
                raise

    async def run(self, holder: LeaseHolder) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(self._renew_s)
            try:
                await self.renew(holder)
            except FloodgateError as error:
                self._metrics.renewals.failed()
                log.warning("renewal failed", extra=fields(consumer=holder.name, reason=str(error)))

    async def _renew(self, holder: LeaseHolder, leave: bool) -> None:
        held, sent_s = holder.leases(), time.monotonic()
        call = renew(
            self._keys,
            consumer=holder.name,
            register_ms=0 if leave else self._registration_ms,
            lease_ms=self._lease_ms,
            lanes=holder.lanes,
            leases=[(route, lease) for lease, route in held.items()],
        )
        reply = await run(self._client, call, self._renew_s)
        self._clock.observe(reply.now_ms)
        self._metrics.renewals.answered(time.monotonic() - sent_s, len(held))
        self._renewed_s[holder.name] = -math.inf if leave else time.monotonic()
        self._stop_ended(holder, reply)
        if reply.joined:
            log.info("registered", extra=fields(consumer=holder.name, lanes=len(holder.lanes)))
        # Whoever registers anew may do so on a server that has lost its data, and with it the routes.
        if (reply.joined or not self._declared) and not leave:
            await self._declare()
            self._declared = True

    def _stop_ended(self, holder: LeaseHolder, reply: RenewReply) -> None:
        for lease in reply.cancelled:
            holder.stop(lease)
        # A run that ended meanwhile is not counted: its `complete` has overtaken the renewal.
        if gone := sum(holder.stop(lease) for lease in reply.gone):
            self._metrics.gone.add(gone)
            log.warning("leases are gone", extra=fields(consumer=holder.name, leases=gone))

    async def _declare(self) -> None:
        registry = self._registry
        call = declare(
            self._keys,
            started_ms=self._clock.at_ms(self._started_s),
            limits={h.route: (h.max_concurrency, h.admission.max_running or 0) for h in registry.handlers},
            lanes=self._lanes,
            release=registry.release_digest,
            digests=registry.signature_digests,
        )
        self._clock.observe(await run(self._client, call))

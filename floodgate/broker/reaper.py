"""The once-a-second loop that both apps run; what crashes left is repaired there.

Every process reaps; the script lets one of them do it per period. Must not know
what the script does, and never ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from redis import asyncio as redis

from floodgate.broker import commands as calls
from floodgate.broker.connection import run
from floodgate.broker.dead_letters import entries_within
from floodgate.broker.keys import Keys
from floodgate.errors import FloodgateError
from floodgate.operations.settings import Settings

PERIOD_S = 1.0
PERIODS_PER_LEASE = 5
"""A short lease is reaped as many times as the default one, so that the lease grace keeps its meaning."""
SKIP = 0.9
"""Of a period: a little less than the sleep, or a lone reaper skips every other turn by a millisecond."""
TIMEOUT_S = 2.0


def period_s(settings: Settings) -> float:
    """Return how often a process calls `reap`."""
    return min(PERIOD_S, settings.lease_s / PERIODS_PER_LEASE)


class Meter(Protocol):
    """Who counts what is reaped."""

    def done(self, reply: calls.ReapReply) -> None: ...
    def failed(self) -> None: ...


async def reap_forever(
    client: redis.Redis, keys: Keys, settings: Settings, log: logging.Logger, meter: Meter, gateway: str = ""
) -> None:
    """Reap once a period until cancelled; an unavailable Redis is said once, and waited for.

    A gateway gives its inbox's name, and is present by that.
    """
    period = period_s(settings)
    call = calls.reap(
        keys,
        lease_ms=settings.lease_ms,
        period_ms=round(period * SKIP * 1000),
        dead_entries=entries_within(settings.dead_max_bytes),
        dead_bodies=settings.dead_keep_body,
        gateway=gateway,
    )
    failing = False
    while True:
        more = False
        try:
            reply = await run(client, call, TIMEOUT_S)
        except FloodgateError as error:
            if not failing:
                log.warning("reap failed: %s", error)
            failing = True
            meter.failed()
        else:
            failing, more = False, reply.more
            meter.done(reply)
            _report(reply, log)
        if not more:
            await asyncio.sleep(period)


def _report(reply: calls.ReapReply, log: logging.Logger) -> None:
    if reply.ended or reply.orphans or reply.malformed:
        log.warning(
            "reaped: %d leases ended, %d expired, %d orphans, %d malformed",
            reply.ended,
            reply.expired,
            reply.orphans,
            reply.malformed,
        )

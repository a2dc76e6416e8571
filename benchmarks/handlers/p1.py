"""Profile P1, the gate, which takes 0.2 s, always; and the routes of the parts that work at its rates.

`/tight` has a limit that short runs can reach. `/long` still runs when its client has left, unless it is cancelled.
Refusals of `/rated` are decided in the gateway's memory; those of `/asked`, which is critical, are not remembered,
so each is asked of Redis. `/fair` is shared fairly by tenants, `/mixed` is not.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.notes import noted_sleep
from shared import Context, Rate, queued

SERVICE_S = 0.2
LONG_S = 5.0
LEAST_S, MOST_S = 0.1, 0.3


def tenant_of(head: Any) -> str:
    return str(head.headers["x-tenant"])


def priority_of(head: Any) -> str:
    return str(head.headers["x-class"])


async def gate(ctx: Context) -> bool:
    return await noted_sleep(ctx, SERVICE_S)


async def long(ctx: Context) -> bool:
    return await noted_sleep(ctx, LONG_S)


async def varied(ctx: Context) -> bool:
    """Takes 0.2 s in the mean, never alike, and the same for the same request in every run.

    Were it constant, runs that a flood started at once would end at once, for ever: whoever comes next waits up to
    a whole service time, whatever the order, and only that would be measured.
    """
    return await noted_sleep(ctx, random.Random(ctx.request_id).uniform(LEAST_S, MOST_S))


queued("/gate", max_concurrency=1000, timeout_s=2)(gate)
queued("/tight", max_concurrency=24, timeout_s=2)(gate)
queued("/long", max_concurrency=100, timeout_s=8)(long)
queued("/rated", max_concurrency=1000, timeout_s=2, rate=Rate(bucket=1, per_s=1))(gate)
queued("/asked", max_concurrency=1000, timeout_s=2, priority="critical")(gate)
queued("/fair", max_concurrency=1000, timeout_s=2, tenant=tenant_of)(gate)
queued("/mixed", max_concurrency=1000, timeout_s=2)(gate)
queued("/classes", max_concurrency=1000, timeout_s=2, priority=priority_of)(varied)
queued("/small", max_concurrency=1000, timeout_s=2)(varied)
queued("/large", max_concurrency=1000, timeout_s=2)(varied)

"""Neighbours: two routes that differ in nothing, on the same workers.

Their time varies. Were it constant, places that were filled at once would come free
at once, for ever: whoever comes next waits a whole service time, whatever the order.
"""

from __future__ import annotations

import asyncio
import random

from loadtest.overload_notes import noted
from shared import Context, queued

LEAST_S, MOST_S = 0.1, 0.3
"""0.2 s in the mean, as in profile P1."""


@queued("/small", max_concurrency=1000, timeout_s=2)
async def small(ctx: Context) -> bool:
    service_s = random.Random(ctx.request_id).uniform(LEAST_S, MOST_S)
    with noted(ctx):
        await asyncio.sleep(service_s)
    return True


@queued("/large", max_concurrency=1000, timeout_s=2)
async def large(ctx: Context) -> bool:
    return await small(ctx)

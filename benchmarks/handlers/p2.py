"""Profile P2: an async handler whose time is lognormal, 0.2 s in the mean; a few take seconds."""

from __future__ import annotations

import math
import random

from benchmarks.notes import noted_sleep
from shared import Context, queued

MEAN_S = 0.2
SIGMA = 1.0
MU = math.log(MEAN_S) - SIGMA**2 / 2


@queued("/gate", max_concurrency=1000, timeout_s=5)
async def gate(ctx: Context) -> bool:
    # Drawn from the request's id: the same request takes the same time in every run.
    return await noted_sleep(ctx, random.Random(ctx.request_id).lognormvariate(MU, SIGMA))

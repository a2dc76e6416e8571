"""Profile P3: asks the simulated database, which does most with eight calls at once."""

from __future__ import annotations

from benchmarks.database import BEST, query
from benchmarks.notes import noted
from shared import Context, queued


@queued("/gate", max_concurrency=1000, timeout_s=2, max_running=BEST)
async def gate(ctx: Context) -> bool:
    with noted(ctx):
        await query()
    return True

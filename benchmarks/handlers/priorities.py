"""Priorities: one route whose requests say how important they are."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.handlers.service_time import varied_s
from benchmarks.notes import noted
from shared import Context, queued


def priority_of(head: Any) -> str:
    return str(head.headers["x-class"])


@queued("/classes", max_concurrency=1000, timeout_s=2, priority=priority_of)
async def classes(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(varied_s(ctx.request_id))
    return True

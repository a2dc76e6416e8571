"""Tenants: the same handler with turns over tenants, and without."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.notes import noted
from shared import Context, queued

SERVICE_S = 0.2


def tenant_of(head: Any) -> str:
    return str(head.headers["x-tenant"])


@queued("/fair", max_concurrency=1000, timeout_s=2, tenant=tenant_of)
async def fair(ctx: Context) -> bool:
    with noted(ctx):
        await asyncio.sleep(SERVICE_S)
    return True


@queued("/mixed", max_concurrency=1000, timeout_s=2)
async def mixed(ctx: Context) -> bool:
    return await fair(ctx)

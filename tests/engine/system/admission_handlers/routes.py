"""One handler per promise of the door; each notes what it does."""

from __future__ import annotations

from pydantic import BaseModel

from shared import Context, Head, HTTPError, Rate, queued
from tests.engine.system.edge_handlers.notes import noted_sleep


class Work(BaseModel):
    """A body, which a refusal must not need."""

    tag: str
    seconds: float = 0.0


@queued("/rated", 100, method="POST", rate=Rate(bucket=3, per_s=0.5))
async def rated(work: Work, ctx: Context) -> str:
    """Let three in, and one every two seconds."""
    return await noted_sleep(work.tag, work.seconds, ctx)


@queued("/narrow", 2, method="POST", timeout_s=5)
async def narrow(work: Work, ctx: Context) -> str:
    """Have two places."""
    return await noted_sleep(work.tag, work.seconds, ctx)


@queued("/few", 20, max_running=2, timeout_s=8)
async def few(tag: str, seconds: float, ctx: Context) -> str:
    """Run at most twice at once."""
    return await noted_sleep(tag, seconds, ctx)


def _tenant(head: Head) -> str | None:
    return head.headers.get("x-tenant")


@queued("/shared", 8, timeout_s=8, tenant=_tenant)
async def shared(tag: str, seconds: float, ctx: Context) -> str:
    """Be fair between tenants."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/ranked", 50, timeout_s=8, priority=lambda head: head.query.get("class", "default"))
async def ranked(tag: str, seconds: float, ctx: Context) -> str:
    """Know classes."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/long", 4, method="POST", timeout_s=5, async_timeout_s=20)
async def long(work: Work, ctx: Context) -> str:
    """May be asked without waiting."""
    if work.tag == "none":
        raise HTTPError(418, "nothing of the kind")
    return await noted_sleep(work.tag, work.seconds, ctx)

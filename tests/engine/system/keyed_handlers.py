"""Handlers with `idempotency=` that note every start, and the gateway that knows who asks for them."""

from __future__ import annotations

from fastapi import FastAPI, Request

from floodgate.gateway import join
from shared import Caller, Context, queued
from tests.engine.system.edge_handlers.notes import noted_sleep


@queued("/orders", method="POST", max_concurrency=100, timeout_s=8, idempotency=True)
async def order(tag: str, seconds: float, ctx: Context) -> str:
    """Take an order; it must not be taken twice."""
    return await noted_sleep(tag, seconds, ctx)


async def who_asks(request: Request) -> Caller:
    return Caller(request.headers.get("x-caller", "ann"))


def build() -> FastAPI:
    return join(FastAPI(), identify=who_asks)

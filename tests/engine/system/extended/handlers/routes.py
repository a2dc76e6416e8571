"""Handlers that tell who asked and what they got, and that end in the ways a caller has to know."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Body, Cookie, Header, Query
from pydantic import BaseModel, Field, SecretStr

from shared import Context, HTTPError, Reply, queued
from tests.engine.system.edge_handlers.notes import noted_sleep

SECRET = "this text stays in the log"


class Size(StrEnum):
    """An enum by text."""

    LARGE = "large & wide"


class Item(BaseModel):
    """A body that dumping alone would spoil."""

    full_name: str = Field(alias="fullName")
    password: SecretStr = SecretStr("")
    price: Decimal = Decimal("0.10")
    made: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Told(BaseModel):
    """What came."""

    id: str
    claims: dict[str, Any]
    request_id: str


@queued("/whoami", max_concurrency=60)
async def whoami(ctx: Context) -> Told:
    """Tell who asks."""
    caller = ctx.caller
    return Told(id=caller.id if caller else "", claims=dict(caller.claims) if caller else {}, request_id=ctx.request_id)


@queued("/items", method="POST", max_concurrency=10, timeout_s=0.6)
async def keep(item: Item) -> Item:
    """Return what came."""
    return item


@queued("/everything/{name:path}", method="PUT", max_concurrency=10)
async def everything(
    name: str,
    item: Item,
    second: Item,
    count: Annotated[int, Body()],
    ids: Annotated[list[int], Query(alias="id")],
    size: Size,
    trace: Annotated[str, Header(alias="X-Trace")],
    session: Annotated[str, Cookie()],
    since: datetime,
) -> str:
    """Return all that came, secrets too, as text."""
    return shown([name, item, second, count, ids, size, trace, session, since])


def shown(values: list[Any]) -> str:
    """Return values as text, with their secrets."""
    parts = [f"{value.password.get_secret_value()} {value}" if isinstance(value, Item) else value for value in values]
    return " ".join(f"{type(value).__name__} {value}" for value in parts)


@queued("/reversed", method="POST", max_concurrency=10, media_type="application/octet-stream")
def turn(data: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
    """Return bytes."""
    return data[::-1]


@queued("/listed", max_concurrency=10)
async def listed(count: int) -> list[Item]:
    """Return a list of models."""
    return [Item(fullName=str(number), price=Decimal(number)) for number in range(count)]


@queued("/created", method="POST", max_concurrency=10, status_code=201)
async def created(name: str) -> Reply[Item]:
    """Return a reply with headers."""
    return Reply(Item(fullName=name), headers={"location": f"/items/{name}"})


@queued("/nothing", method="DELETE", max_concurrency=10, status_code=204)
async def nothing() -> None:
    """Return nothing."""


@queued("/double", max_concurrency=60)
async def double(number: int) -> int:
    """Return twice the number, the later the smaller it is."""
    await asyncio.sleep((50 - number) / 1000)
    return 2 * number


@queued("/sleep", max_concurrency=100)
async def sleep(tag: str, seconds: float, ctx: Context) -> str:
    """Sleep."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/narrow", max_concurrency=1)
async def narrow(tag: str, seconds: float, ctx: Context) -> str:
    """Let one in."""
    return await noted_sleep(tag, seconds, ctx)


@queued("/short", max_concurrency=10, timeout_s=0.4)
async def short() -> str:
    """Have less time than it takes."""
    await asyncio.sleep(5)
    return ""


@queued("/gone", max_concurrency=10)
async def gone() -> str:
    """Answer with a status of its own."""
    raise HTTPError(410, {"why": "sold"}, {"x-why": "sold"})


@queued("/broken", max_concurrency=10)
async def broken() -> str:
    """Raise."""
    raise RuntimeError(SECRET)


@queued("/dies", method="POST", max_concurrency=10)
def dies() -> str:
    """Take the worker along."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""

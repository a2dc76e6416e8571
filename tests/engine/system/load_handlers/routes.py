"""Three routes; the plain one of the gateway's extension is a fourth."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from shared import queued


class Thing(BaseModel):
    """What is sent."""

    name: str = Field(min_length=3)
    sizes: list[int]


@queued("/quick", max_concurrency=50, timeout_s=2)
async def quick() -> bool:
    """Answer at once."""
    return True


@queued("/slow/{n}", max_concurrency=50, timeout_s=2)
async def slow(n: Annotated[int, Path(ge=1, le=5)]) -> int:
    """Answer after a while."""
    await asyncio.sleep(0.1)
    return n


@queued("/things", method="POST", max_concurrency=50, timeout_s=2)
async def things(thing: Thing) -> Thing:
    """Answer with what was sent."""
    return thing

"""`ROLLING_LEAST` changes a parameter of one route, `ROLLING_LIMIT` the limit of the other."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

from pydantic import Field

from shared import queued

Amount = Annotated[int, Field(ge=int(os.environ.get("ROLLING_LEAST", "0")))]


@queued("/same", max_concurrency=int(os.environ.get("ROLLING_LIMIT", "10")), async_timeout_s=60)
async def same(seconds: float = 0) -> str:
    """Stay as it is, but for the limit."""
    await asyncio.sleep(seconds)
    return "same"


@queued("/changed", max_concurrency=10, async_timeout_s=60)
async def changed(amount: Amount = 5) -> str:
    """Change its parameter."""
    return f"changed {amount}"

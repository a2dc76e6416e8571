"""Parameters of every kind."""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from shared import queued


class Colour(IntEnum):
    """An enum by number."""

    RED = 1
    GREEN = 2


class Item(BaseModel):
    full_name: str = Field(alias="fullName")
    due: datetime


@queued("/inputs/{item_id}/{colour}", method="POST", max_concurrency=4)
async def take(
    item_id: UUID,
    colour: Colour,
    item: Item,
    since: Annotated[datetime, Query(alias="from")],
    tag: Annotated[list[str] | None, Query(max_length=3)] = None,
    limit: Annotated[int, Query(ge=1, le=10)] = 5,
) -> None: ...

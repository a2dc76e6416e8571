"""Parameters of every kind, told back as what the handler really got."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import IntEnum
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared import Context, queued


class Colour(IntEnum):
    """An enum by number."""

    RED = 1
    GREEN = 2


class Item(BaseModel):
    """A body that does not survive being dumped and read again."""

    model_config = ConfigDict(populate_by_name=False)

    full_name: str = Field(alias="fullName")
    password: SecretStr
    token: str = Field("none", exclude=True)
    due: datetime
    pause: timedelta = timedelta(seconds=1)


class Told(BaseModel):
    """What came, and as which types."""

    types: dict[str, str]
    name_told: str = Field(serialization_alias="nameTold")
    password: str
    token: str
    due: datetime
    colour: Colour
    tags: list[str]
    request_id: str
    attempt: int


@queued("/inputs/{item_id}/{colour}", method="POST", max_concurrency=4)
async def tell(
    item_id: UUID,
    colour: Colour,
    item: Item,
    ctx: Context,
    since: Annotated[datetime, Query(alias="from")],
    tag: Annotated[list[str] | None, Query(max_length=3)] = None,
    limit: Annotated[int, Query(ge=1, le=10)] = 5,
) -> Told:
    """Tell what arrived.

    The second paragraph of the text.
    """
    values = {"item_id": item_id, "colour": colour, "item": item, "since": since, "due": item.due}
    return Told(
        types={name: type(value).__name__ for name, value in values.items()},
        name_told=item.full_name,
        password=item.password.get_secret_value(),
        token=item.token,
        due=item.due,
        colour=colour,
        tags=[*(tag or [])][:limit],
        request_id=ctx.request_id,
        attempt=ctx.attempt,
    )

"""The route of `edge_handlers.inputs`, written by hand in plain FastAPI: what ours is compared with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import FastAPI, Query

from tests.engine.system.edge_handlers.inputs import Colour, Item, Told

app = FastAPI()


@app.post("/inputs/{item_id}/{colour}")
async def tell(
    item_id: UUID,
    colour: Colour,
    item: Item,
    since: Annotated[datetime, Query(alias="from")],
    tag: Annotated[list[str] | None, Query(max_length=3)] = None,
    limit: Annotated[int, Query(ge=1, le=10)] = 5,
) -> Told:
    """Tell what arrived.

    The second paragraph of the text.
    """
    raise AssertionError("nothing invalid gets here")

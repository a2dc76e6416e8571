"""The older ways to write parameters, in a module whose annotations are evaluated at once."""

from typing import List, Optional, Set, Union  # noqa: UP035

from fastapi import Body, Cookie, Header, Path, Query
from pydantic import BaseModel

from shared import Context, queued
from tests.engine.conformance.handlers.telling import told


class Thing(BaseModel):
    """A model that refers to itself."""

    name: str
    parts: List["Thing"] = []  # noqa: UP006


@queued("/plainly/{id}", method="POST", max_concurrency=20)
async def defaults(  # type: ignore[no-untyped-def]
    ctx: Context,
    id: int = Path(ge=1),
    thing: Optional[Thing] = Body(None, description="perhaps"),  # noqa: B008, UP045
    since: int = Query(..., alias="from", le=10),
    tags: List[str] = Query(["a", "b"]),  # noqa: B008, UP006
    sizes: Set[int] = Query(default_factory=set, max_length=2),  # noqa: B008, UP006
    x_word: Optional[str] = Header(None, min_length=2),  # noqa: UP045
    session: Union[int, str] = Cookie("none", alias="sid"),  # noqa: UP007
):
    """Take everything by default values."""
    assert ctx.attempt == 1
    return told(id=id, thing=thing, since=since, tags=tags, sizes=sizes, x_word=x_word, session=session)


@queued("/plainly-untyped/{word}", max_concurrency=20, examples={"number": [4]})
def untyped(word, number=3, *, tags=Query(())):  # type: ignore[no-untyped-def]  # noqa: B008
    """Take parameters without types, in a thread."""
    return told(word=word, number=number, tags=tags)

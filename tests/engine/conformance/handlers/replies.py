"""Answers with a status and headers of their own, and errors."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException
from pydantic import BaseModel, Field

from shared import HTTPError, Reply, queued


class Made(BaseModel):
    """What was made."""

    id: int = Field(serialization_alias="madeId")
    secret: str = Field("secret", exclude=True)


COOKIES = (("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly"))


@queued("/replies/typed", method="POST", max_concurrency=20)
async def typed() -> Reply[Made]:
    """Reply with a status and two cookies."""
    return Reply(Made(id=1), HTTPStatus.CREATED, [("Location", "/made/1"), *COOKIES])


@queued("/replies/either", max_concurrency=20)
def either(fresh: bool) -> Made | Reply[Made]:
    """Reply, or return the model alone, in a thread."""
    return Reply(Made(id=2), headers={"ETag": '"2"', "Age": "0"}) if fresh else Made(id=3)


@queued("/replies/bare", max_concurrency=20)
async def bare() -> Reply:  # type: ignore[type-arg]
    """Reply with anything."""
    return Reply({"made": Made(id=4)}, 202)


@queued("/replies/moved", max_concurrency=20)
async def moved() -> Reply[None]:
    """Reply with another place."""
    return Reply(None, 307, {"Location": "/elsewhere"})


@queued("/replies/gone", method="DELETE", max_concurrency=20, status_code=204)
async def gone() -> Reply[None]:
    """Reply with headers and no body."""
    return Reply(None, headers=COOKIES)


@queued("/replies/problem", max_concurrency=20)
async def problem() -> Made | Reply[dict[str, str]]:
    """Reply with JSON of another type."""
    return Reply({"title": "over"}, 410, {"Content-Type": "application/problem+json"})


@queued("/replies/picture", max_concurrency=20, media_type="image/png")
async def picture(found: bool, as_bytes: bool = False) -> bytes | Reply[bytes]:
    """Reply with a picture, or with a reason why there is none."""
    if found:
        return Reply(b"\x89PNG", headers={"Cache-Control": "no-store"})
    return Reply(b"none", 404, {"Content-Type": "text/plain"}) if as_bytes else Reply({"no": "picture"}, 404)  # type: ignore[arg-type]


@queued("/errors/ours", max_concurrency=20)
async def ours() -> Made:
    """Refuse with a status, a detail and headers."""
    raise HTTPError(401, ["who", 1, None], {"WWW-Authenticate": "Basic", "X-Why": "é"})


@queued("/errors/fastapis", max_concurrency=20)
def fastapis(status: int, typed: bool = False) -> Made:
    """Refuse in FastAPI's way."""
    headers = {"Content-Type": "application/problem+json", "X-Why": "so"} if typed else None
    raise HTTPException(status, headers=headers)


@queued("/errors/bug", max_concurrency=20)
async def bug() -> Made:
    """Fail."""
    raise RuntimeError("this text stays in the log")


@queued("/errors/unsendable", max_concurrency=20)
async def unsendable() -> Made:
    """Refuse with a detail that is no JSON."""
    raise HTTPException(409, {1, 2})

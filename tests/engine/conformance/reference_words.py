"""What a handler says in our words, said in FastAPI's: replies, errors, examples, the older ways."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Cookie, FastAPI, Header, HTTPException, Path, Query, Response
from fastapi.responses import JSONResponse

from tests.engine.conformance.handlers import presented, raw, replies
from tests.engine.conformance.handlers.plainly import Thing
from tests.engine.conformance.handlers.replies import Made
from tests.engine.conformance.handlers.telling import told

app = FastAPI()
app.get("/errors/fastapis")(replies.fastapis)
app.get("/errors/bug")(replies.bug)
app.get("/errors/unsendable")(replies.unsendable)


class Png(Response):
    media_type = "image/png"


class Latin(Response):
    media_type = "text/csv; charset=latin-1"


@app.get("/raw/png", response_class=Png)
async def png() -> Response:
    """Return a picture."""
    return Png(raw.PNG)


@app.get("/raw/latin", response_class=Latin)
async def latin() -> Response:
    """Return a table in another character set."""
    return Latin("città\n".encode("latin-1"))


def _set_cookies(response: Response) -> None:
    for _, cookie in replies.COOKIES:
        response.headers.append("set-cookie", cookie)


@app.post("/replies/typed")
async def typed(response: Response) -> Made:
    """Reply with a status and two cookies."""
    response.status_code = 201
    response.headers["location"] = "/made/1"
    _set_cookies(response)
    return Made(id=1)


@app.get("/replies/either")
def either(fresh: bool, response: Response) -> Made:
    """Reply, or return the model alone, in a thread."""
    if fresh:
        response.headers["etag"] = '"2"'
        response.headers["age"] = "0"
    return Made(id=2 if fresh else 3)


@app.get("/replies/bare")
async def bare(response: Response):  # type: ignore[no-untyped-def]
    """Reply with anything."""
    response.status_code = 202
    return {"made": Made(id=4)}


@app.get("/replies/moved")
async def moved(response: Response) -> None:
    """Reply with another place."""
    response.status_code = 307
    response.headers["location"] = "/elsewhere"


@app.delete("/replies/gone", status_code=204)
async def gone(response: Response) -> None:
    """Reply with headers and no body."""
    _set_cookies(response)


@app.get("/replies/problem", response_model=Made | dict[str, str])
async def problem() -> Response:
    """Reply with JSON of another type."""
    return JSONResponse({"title": "over"}, 410, media_type="application/problem+json")


@app.get("/replies/picture", response_class=Png)
async def picture(found: bool, as_bytes: bool = False) -> Response:
    """Reply with a picture, or with a reason why there is none."""
    if found:
        return Png(b"\x89PNG", headers={"Cache-Control": "no-store"})
    return Response("none", 404, {"Content-Type": "text/plain"}) if as_bytes else JSONResponse({"no": "picture"}, 404)


@app.get("/errors/ours")
async def ours() -> Made:
    """Refuse with a status, a detail and headers."""
    raise HTTPException(401, ["who", 1, None], {"WWW-Authenticate": "Basic", "X-Why": "é"})


@app.post("/presented/examples/{n}")
async def examples(
    n: Annotated[int, Path(examples=[2, 97])],
    parcel: Annotated[presented.Parcel, Body(examples=[{"weight": 1.5}])],
    word: Annotated[str, Query(max_length=5, examples=["tea"])],
    x_tag: Annotated[str, Header(alias="X-Tag", examples=["a"])],
    size: Annotated[int | None, Query(examples=[3])] = None,
    old: Annotated[str, Query(description="as a default value", examples=["b"])] = "old",
) -> dict[str, str]:
    """Show examples of every parameter."""
    return told(n=n, parcel=parcel, word=word, x_tag=x_tag, size=size, old=old)


@app.post("/presented/parts")
async def part_examples(
    parcel: Annotated[presented.Parcel, Body(examples=[{"weight": 2}])],
    note: Annotated[str, Body(description="for the carrier", examples=["careful"])],
) -> dict[str, str]:
    """Show examples of the parts of a body."""
    return told(parcel=parcel, note=note)


@app.post("/plainly/{id}")
async def defaults(  # type: ignore[no-untyped-def]
    *,
    id: Annotated[int, Path(ge=1)],
    thing: Annotated[Thing | None, Body(description="perhaps")] = None,
    since: Annotated[int, Query(alias="from", le=10)],
    tags: Annotated[list[str], Query()] = ["a", "b"],  # noqa: B006
    sizes: Annotated[set[int], Query(default_factory=set, max_length=2)],
    x_word: Annotated[str | None, Header(min_length=2)] = None,
    session: Annotated[int | str, Cookie(alias="sid")] = "none",
):
    """Take everything by default values."""
    return told(id=id, thing=thing, since=since, tags=tags, sizes=sizes, x_word=x_word, session=session)


@app.get("/plainly-untyped/{word}")
def untyped(word, number: Annotated[Any, Query(examples=[4])] = 3, *, tags=Query(())):  # type: ignore[no-untyped-def]  # noqa: B008
    """Take parameters without types, in a thread."""
    return told(word=word, number=number, tags=tags)

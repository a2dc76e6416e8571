"""Headers and cookies of every kind."""

from __future__ import annotations

from typing import Annotated

from fastapi import Cookie, Header
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from shared import queued
from tests.engine.conformance.handlers.telling import told


@queued("/headers/plain", max_concurrency=20)
async def plain(
    x_word: Annotated[str, Header()],
    x_number: Annotated[int | None, Header(ge=0)] = None,
    user_agent: Annotated[str, Header()] = "none",
) -> dict[str, str]:
    """Take headers whose underscores are hyphens."""
    return told(x_word=x_word, x_number=x_number, user_agent=user_agent)


@queued("/headers/named", max_concurrency=20)
def named(
    token: Annotated[str, Header(alias="X-Token")],
    real: Annotated[str, Header(validation_alias="x-real-name")] = "none",
    either: Annotated[str, Header(validation_alias=AliasChoices("x-one", "x-other"))] = "none",
    under_score: Annotated[str, Header(convert_underscores=False)] = "none",
) -> dict[str, str]:
    """Take headers by other names, in a thread."""
    return told(token=token, real=real, either=either, under_score=under_score)


@queued("/headers/repeated", max_concurrency=20)
async def repeated(
    x_tag: Annotated[list[str], Header()], x_n: Annotated[set[int] | None, Header()] = None
) -> dict[str, str]:
    """Take a header as often as it comes."""
    return told(x_tag=x_tag, x_n=x_n)


@queued("/headers/framing", max_concurrency=20, method="POST")
async def framing(
    content_length: Annotated[int | None, Header()] = None, content_type: Annotated[str | None, Header()] = None
) -> dict[str, str]:
    """Take what frames a body, but not the body."""
    return told(content_length=content_length, content_type=content_type)


class Common(BaseModel):
    """Headers as a model."""

    x_trace: str
    x_tags: list[str] = []
    modified: str | None = Field(None, alias="if-modified-since")


@queued("/headers/model", max_concurrency=20)
async def model(common: Annotated[Common, Header()]) -> dict[str, str]:
    """Take several headers at once."""
    return told(common=common)


class Everything(BaseModel):
    """All headers there are."""

    model_config = ConfigDict(extra="allow")

    x_trace: str = "none"


@queued("/headers/everything", max_concurrency=20)
async def everything(headers: Annotated[Everything, Header()]) -> dict[str, str]:
    """Take all headers."""
    return told(headers=sorted(headers.model_dump().items()))


@queued("/cookies/plain", max_concurrency=20)
async def cookies(
    session: Annotated[str, Cookie()],
    visits: Annotated[int, Cookie(ge=0)] = 0,
    theme: Annotated[str | None, Cookie(alias="ui-theme")] = None,
    lang: Annotated[str | None, Cookie(validation_alias="locale")] = None,
) -> dict[str, str]:
    """Take cookies."""
    return told(session=session, visits=visits, theme=theme, lang=lang)


class Jar(BaseModel):
    """Cookies as a model."""

    session_id: str
    tracker: str | None = Field(None, alias="tr")


@queued("/cookies/model", max_concurrency=20)
async def jar(jar: Annotated[Jar, Cookie()]) -> dict[str, str]:
    """Take several cookies at once."""
    return told(jar=jar)

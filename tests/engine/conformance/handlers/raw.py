"""Results that are no JSON, or JSON under another name."""

from __future__ import annotations

from pydantic import BaseModel

from shared import queued

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55")
"""The beginning of a picture; not UTF-8."""


@queued("/raw/png", max_concurrency=20, media_type="image/png")
async def png() -> bytes:
    """Return a picture."""
    return PNG


@queued("/raw/csv", max_concurrency=20, media_type="text/csv")
def csv() -> str:
    """Return a table."""
    return "name,città\nAda,Łódź\n"


@queued("/raw/latin", max_concurrency=20, media_type="text/csv; charset=latin-1")
async def latin() -> bytes:
    """Return a table in another character set."""
    return "città\n".encode("latin-1")


@queued("/raw/svg", max_concurrency=20, media_type="image/svg+xml", status_code=203)
async def svg() -> str:
    """Return a drawing under another status."""
    return "<svg/>"


class Shape(BaseModel):
    """What is sent as JSON of a special type."""

    sides: int


@queued("/raw/geo", max_concurrency=20, media_type="application/geo+json")
async def geo() -> Shape:
    """Return JSON of a special type."""
    return Shape(sides=3)


@queued("/raw/json", max_concurrency=20, media_type="application/json")
async def json() -> list[Shape]:
    """Return JSON and say so."""
    return [Shape(sides=4)]


@queued("/raw/geo-untyped", max_concurrency=20, media_type="application/geo+json")
async def geo_untyped():  # type: ignore[no-untyped-def]
    """Return JSON of a special type without an annotation."""
    return {"sides": 5}

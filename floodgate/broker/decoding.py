"""Total readers of raw replies: what no script of ours wrote raises `DecodeError`.

Pure; knows the forms that occur, not which script returns which.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TypeVar, cast

from floodgate.errors import DecodeError

C = TypeVar("C", bound=IntEnum)


def read_releases(stored: Mapping[bytes, bytes]) -> dict[str, dict[str, str]]:
    """Read the hash `releases`: release → route → digest; what is malformed is left out."""
    return {
        release.decode(errors="replace"): dict(
            pair.split("=", 1) for pair in text.decode(errors="replace").split(" ") if "=" in pair
        )
        for release, text in stored.items()
    }


def number(reply: object) -> int:
    """Read a count that no script returned; what is none, an error among it, is 0."""
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else str(reply)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def list_of(reply: object, least: int, most: int | None = None) -> list[object]:
    """Return the list that the reply is; its length is bounded."""
    if not isinstance(reply, list) or len(reply) < least or (most is not None and len(reply) > most):
        raise DecodeError("a script's reply that is no list, or of another length")
    return reply


def numbers(reply: object, least: int, further: int | None = None) -> list[int]:
    """Read a list of integers: `least` fixed ones, then exactly `further` (None: any number)."""
    parts = list_of(reply, least + (further or 0), None if further is None else least + further)
    if not all(isinstance(part, int) for part in parts):
        raise DecodeError("a script's reply with something else for a number")
    return cast(list[int], parts)


def texts(reply: object) -> tuple[str, ...]:
    """Read a list of names."""
    return tuple(part.decode(errors="replace") for part in list_of(reply, 0) if isinstance(part, bytes))


def code_of(codes: type[C], value: int) -> C:
    """Read one code."""
    try:
        return codes(value)
    except ValueError as error:
        raise DecodeError(f"an unknown code {value}") from error

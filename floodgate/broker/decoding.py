"""Total readers of raw script replies: what no script wrote raises `DecodeError`.

Pure; knows the forms that occur, not which script returns which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

from floodgate.broker.lifecycle import AdmitCode, CancelCode, Progress
from floodgate.broker.records import Claimed
from floodgate.errors import DecodeError

C = TypeVar("C", AdmitCode, CancelCode, Progress)


def list_of(reply: object, least: int, most: int | None = None) -> list[object]:
    """Return the list that the reply is; raises `DecodeError` if it is none, or of another length."""
    if not isinstance(reply, list) or len(reply) < least or (most is not None and len(reply) > most):
        raise DecodeError("a script's reply of a strange form")
    return reply


def numbers(reply: object, least: int, further: int | None = None) -> list[int]:
    """Read a list of integers: `least` fixed ones, then exactly `further` (None: any number)."""
    parts = list_of(reply, least if further is None else least + further, None if further is None else least + further)
    if not all(isinstance(part, int) for part in parts):
        raise DecodeError("a script's reply with something else for a number")
    return cast(list[int], parts)


def number(reply: object) -> int:
    """Read a count that no script returned; what is none, an error among it, is 0."""
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else str(reply)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def texts(reply: object) -> tuple[str, ...]:
    """Read a list of names."""
    parts = list_of(reply, 0)
    return tuple(part.decode(errors="replace") for part in parts if isinstance(part, bytes))


def claimed(parts: Sequence[object]) -> Iterator[Claimed]:
    """Read id, tries used, blob, over and over."""
    if len(parts) % 3:
        raise DecodeError("a claim's reply of a strange length")
    for i in range(0, len(parts), 3):
        id, tries, blob = parts[i : i + 3]
        if not (isinstance(id, bytes) and isinstance(tries, int) and isinstance(blob, bytes)):
            raise DecodeError("a claim's reply of a strange form")
        yield Claimed(id.decode(errors="replace"), tries, blob)


def code(codes: type[C], value: int) -> C:
    """Read one code."""
    try:
        return codes(value)
    except ValueError as error:
        raise DecodeError(f"an unknown code {value}") from error

"""How a queued handler tells what it got: the type and the value of every argument."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Colour(StrEnum):
    """An enum by text."""

    RED = "red"
    DARK_RED = "dark red"


class Size(IntEnum):
    """An enum by number."""

    SMALL = 1
    LARGE = 2


def told(**values: object) -> dict[str, str]:
    """Return type and value of each; sets in order, since theirs differs between processes."""
    return {name: f"{type(value).__name__} {_shown(value)}" for name, value in values.items()}


def _shown(value: object) -> str:
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return repr(value)

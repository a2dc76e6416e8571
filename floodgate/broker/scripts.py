"""The only place where the queue's state changes: one Lua script per command.

Owns the files, how they are joined, and their SHA, which is of the whole text,
so two versions never mix. `calls` says what they take and return; this module
knows neither.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_PARTS: dict[str, tuple[str, ...]] = {
    "declare": (),
    "admit": ("entering", "turns", "pace", "door", "verdict"),
    "claim": ("ending", "gone", "promoting", "backlog"),
    "complete": ("ending", "promoting", "holding", "measuring"),
    "renew": ("counting", "holding"),
    "drop": (),
    "cancel": ("ending", "promoting"),
    "release": ("ending", "promoting", "holding", "giveback"),
    "join": ("ending", "promoting", "holding", "giveback"),
    "look": ("ending",),
    "reap": (
        "ending",
        "gone",
        "promoting",
        "holding",
        "giveback",
        "healing",
        "counting",
        "filing",
        "stranding",
        "sweep",
    ),
}
"""What stands between the prelude and each script; the scripts' names are these keys."""

_FULL_REDIS_REFUSES = {"admit"}
"""A full Redis refuses an admission as a whole; whatever ends or moves a task goes on, since it makes room."""
_READS = {"look"}


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it; `sha` is what EVALSHA names."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Script:
        """Return the script with its SHA."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _joined(name: str) -> Script:
    allowed = " flags=no-writes" if name in _READS else "" if name in _FULL_REDIS_REFUSES else " flags=allow-oom"
    here = Path(__file__).parent / "lua"
    parts = [(here / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", *_PARTS[name], name)]
    return Script.of(name, "\n".join([f"#!lua{allowed}", *parts]))


SCRIPTS: dict[str, Script] = {name: _joined(name) for name in _PARTS}

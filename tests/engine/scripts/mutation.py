"""A deliberate mistake in a script."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `script` ('*': each), `old` becomes `new`; `promise` is what breaks."""

    promise: str
    script: str
    old: str
    new: str

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        return ((self.script, self.old, self.new),)

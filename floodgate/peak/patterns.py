"""A text that matches a regular expression, for schemas with a `pattern`.

Owns the way from a parsed expression to a text. Pure. What pydantic's expressions
have and Python's have not (`\\p{L}`) is not understood: then there is no text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# The standard library's own parser, private as it is: a second one would be a second opinion on what matches.

MORE = 8
"""How often an unbounded repetition repeats more than it must, at most."""
PRINTABLE = [chr(code) for code in range(32, 127)]
CATEGORIES = {
    op.CATEGORY_DIGIT: "0123456789",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
    op.CATEGORY_NOT_DIGIT: "abcdefghijklmnopqrstuvwxyz",
    op.CATEGORY_NOT_SPACE: "abcdefghijklmnopqrstuvwxyz0123456789",
    op.CATEGORY_NOT_WORD: " -./",
}
ATTEMPTS = 200


class NoMatch(Exception):
    """No text was found; the expression stands in the text."""


def matching(pattern: str, chance: random.Random, least: int = 0, most: int | None = None) -> str:
    """Returns a text of `least` to `most` characters in which the pattern is found; raises `NoMatch`."""
    try:
        tree, compiled = parser.parse(pattern), re.compile(pattern)
    except re.error as error:
        raise NoMatch(f"the pattern {pattern!r} is none of Python's: {error}") from error
    for attempt in range(ATTEMPTS):
        # Short at first, then longer: whatever bound there is comes into reach.
        found = _Writer(chance, more=min(attempt // 4, MORE) + least).text(tree)
        if compiled.search(found) and least <= len(found) and (most is None or len(found) <= most):
            return found
    raise NoMatch(f"no text of the right length was found for the pattern {pattern!r}")


class _Writer:
    """Writes one text; remembers its groups for references back."""

    def __init__(self, chance: random.Random, more: int) -> None:
        self._chance = chance
        self._more = more
        self._groups: dict[int, str] = {}

    def text(self, tree: Sequence[tuple[Any, Any]]) -> str:
        return "".join(self._piece(kind, value) for kind, value in tree)

    def _piece(self, kind: Any, value: Any) -> str:
        if kind is op.LITERAL:
            return chr(value)
        if kind is op.NOT_LITERAL:
            return self._chance.choice([char for char in PRINTABLE if char != chr(value)])
        if kind is op.ANY:
            return self._chance.choice(PRINTABLE[1:])
        if kind is op.IN:
            return self._chance.choice(_members(value))
        if kind is op.BRANCH:
            return self.text(self._chance.choice(value[1]))
        if kind is op.SUBPATTERN:
            group, _, _, inner = value
            self._groups[group] = self.text(inner)
            return self._groups[group]
        if kind is op.ATOMIC_GROUP:
            return self.text(value)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, inner = value
            times = self._chance.randint(least, min(most, least + self._more))
            return "".join(self.text(inner) for _ in range(times))
        if kind is op.GROUPREF:
            return self._groups.get(value, "")
        return ""  # anchors and looks around take no room; whether they hold is seen at the end


def _members(members: Sequence[tuple[Any, Any]]) -> list[str]:
    """Returns the characters of a set in brackets."""
    found: list[str] = []
    for kind, value in members:
        if kind is op.LITERAL:
            found.append(chr(value))
        elif kind is op.RANGE:
            found += [chr(code) for code in range(value[0], value[1] + 1)]
        elif kind is op.CATEGORY:
            found += CATEGORIES[value]
    if members[0][0] is op.NEGATE:
        return [char for char in PRINTABLE if char not in found] or ["é"]
    return found

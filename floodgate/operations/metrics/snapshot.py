"""The figures of one process or of several, by series; and their form in a file. Pure.

What another release or a crash left in a file is hostile until it is read; what
does not fit raises `ValueError`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from floodgate.operations.metrics.families import Family, Labels

_MAGIC = b"floodgt1"
_HEAD = struct.Struct("<8sQ")
CELL_BYTES = 8

Row = tuple[Family, Labels]


@dataclass(slots=True)
class Snapshot:
    """Series to numbers; a name has one family, the first that came with it."""

    families: dict[str, Family] = field(default_factory=dict)
    rows: dict[tuple[str, Labels], list[float]] = field(default_factory=dict)

    def put(self, family: Family, labels: Labels, numbers: Sequence[float]) -> None:
        """Add numbers to a series; those of a family that is none of ours by form are left out."""
        known = self.families.setdefault(family.name, family)
        if known is not family and (known.kind, known.labels, known.bounds) != (
            family.kind,
            family.labels,
            family.bounds,
        ):
            return
        mine = self.rows.get((family.name, labels))
        if mine is None:
            self.rows[family.name, labels] = list(numbers)
        else:
            for at, number in enumerate(numbers):
                mine[at] += number

    def add(self, other: Snapshot, *, gauges: bool = True) -> None:
        """Add another's figures, `gauges` only of a process that lives."""
        for (name, labels), numbers in other.rows.items():
            family = other.families[name]
            if gauges or family.kind != "gauge":
                self.put(family, labels, numbers)


def header_of(rows: Iterable[Row], folded: Iterable[str] = ()) -> bytes:
    """Return what a file begins with: which series the cells after it are. Its length is a multiple of a cell's.

    `folded` names the files whose figures are in this one already.
    """
    numbers: dict[Family, int] = {}
    listed = [[numbers.setdefault(family, len(numbers)), *labels] for family, labels in rows]
    families = [[f.name, f.kind, f.help, f.labels, f.bounds] for f in numbers]
    text = json.dumps({"families": families, "rows": listed, "folded": [*folded]}).encode()
    return _HEAD.pack(_MAGIC, len(text)) + text + b" " * (-len(text) % CELL_BYTES)


@dataclass(frozen=True, slots=True)
class Header:
    """A file's header, read; `length` is where its cells begin."""

    length: int
    rows: tuple[Row, ...]
    folded: frozenset[str]
    cells: int

    def snapshot(self, numbers: Sequence[float]) -> Snapshot:
        """Return the figures of these cells."""
        found, at = Snapshot(), 0
        for family, labels in self.rows:
            found.put(family, labels, numbers[at : at + family.width])
            at += family.width
        return found


def read_header(start: bytes) -> Header:
    """Read the header of a file from its whole content or more than the header; raises `ValueError`."""
    if len(start) < _HEAD.size:
        raise ValueError("too short")
    magic, size = _HEAD.unpack_from(start)
    text = start[_HEAD.size : _HEAD.size + size]
    if magic != _MAGIC or len(text) != size:
        raise ValueError("no figures")
    return _parsed(bytes(text))


@lru_cache(maxsize=32)
def _parsed(text: bytes) -> Header:
    try:
        parts = json.loads(text)
        families = [_family(part) for part in parts["families"]]
        rows = tuple((families[number], tuple(map(str, labels))) for number, *labels in parts["rows"])
        folded = frozenset(map(str, parts["folded"]))
    except (TypeError, KeyError, IndexError, RecursionError, OverflowError) as error:
        raise ValueError("figures of a strange form") from error
    if any(len(labels) != len(family.labels) for family, labels in rows):
        raise ValueError("figures of a strange form")
    length = _HEAD.size + len(text) + -len(text) % CELL_BYTES
    return Header(length, rows, folded, sum(family.width for family, _ in rows))


def _family(part: list[object]) -> Family:
    name, kind, text, labels, bounds = part
    if kind not in ("counter", "gauge", "histogram") or not isinstance(labels, list) or not isinstance(bounds, list):
        raise ValueError("a family of a strange form")
    return Family(str(name), kind, str(text), tuple(map(str, labels)), tuple(map(float, bounds)))

"""`docs/performance.md`: the tables and pictures of what was measured, between marks in the text.

Owns the marks. What stands outside of them is written by people and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from benchmarks.capacity_curves import Part, Point
from floodgate.peak.statistics import grid

IMAGES = "images"
WIDTH = 120
NOISY = 0.25
"""From such a spread on, the page says that the machine was noisy."""


class NoMark(Exception):
    """The document has no place for a part."""


def picture(part: str) -> str:
    """Return the file name of a part's picture."""
    return f"capacity-{part}.png"


def check(document: Path, parts: Iterable[str]) -> None:
    """Raise `NoMark` when a document has no place for one of these parts: better before than after minutes of load."""
    text = document.read_text() if document.is_file() else ""
    for part in parts:
        if not _place(part).search(text):
            raise NoMark(f"{document} has no {_begin(part)} … {_end(part)}")


def write(document: Path, part: Part) -> None:
    """Put a part where its mark stands in a document; raise `NoMark`."""
    check(document, [part.name])
    filled = f"{_begin(part.name)}\n{section(part)}\n{_end(part.name)}"
    document.write_text(_place(part.name).sub(lambda _: filled, document.read_text()))


def _begin(part: str) -> str:
    return f"<!-- capacity {part} -->"


def _end(part: str) -> str:
    return f"<!-- end of {part} -->"


def _place(part: str) -> re.Pattern[str]:
    return re.compile(re.escape(_begin(part)) + ".*?" + re.escape(_end(part)), re.DOTALL)


def section(part: Part) -> str:
    """Return the Markdown of a part."""
    image = f"![{part.title}]({IMAGES}/{picture(part.name)})"
    machine = f"Measured on {part.machine}.{noise(part)}"
    return "\n\n".join((fill(part.how, WIDTH), image, table(part), fill(machine, WIDTH)))


def noise(part: Part) -> str:
    """Return what the rounds say of the machine; nothing when there was one only."""
    if not part.spread:
        return ""
    told = f" The same point, measured again, differed by up to {part.spread:.0%} in its requests/s"
    return f"{told}: the machine was noisy, take the figures as a size." if part.spread > NOISY else f"{told}."


def table(part: Part) -> str:
    """Return all points of a part, a row for each."""
    several = len(part.curves) > 1
    more = list(dict.fromkeys(name for curve in part.curves for point in curve.points for name in point.more))
    head = (part.grows, *([""] if several else []), "requests/s", "p50 ms", "p99 ms", *more)
    rows: list[tuple[str, ...]] = [head]
    for index in range(len(part.curves[0].points)):
        for number, curve in enumerate(part.curves):
            point = curve.points[index]
            named = [curve.name] if several else []
            rows.append(("" if number else f"{point.x:,.0f}", *named, *_cells(point, more)))
    return grid(rows)


def _cells(point: Point, more: list[str]) -> list[str]:
    told = [f"{point.per_s:,.0f}", _short(point.p50_ms), _short(point.p99_ms)]
    return told + [_short(point.more[name]) if name in point.more else "" for name in more]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""Prometheus's text format, version 0.0.4, one family at a time.

`prometheus_client` writes the same at a tenth of the pace, which a busy event loop
would feel with every scrape; its parser reads ours in the tests. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

from floodgate.operations.metrics.families import Family, Labels
from floodgate.operations.metrics.snapshot import Snapshot

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the text of each family."""
    series: dict[str, list[tuple[Labels, list[float]]]] = {name: [] for name in snapshot.families}
    for (name, labels), numbers in snapshot.rows.items():
        series[name].append((labels, numbers))
    for name, found in series.items():
        family = snapshot.families[name]
        write = _histogram if family.kind == "histogram" else _number
        lines = [f"# HELP {name} {_escaped(family.help, quotes=False)}\n# TYPE {name} {family.kind}\n"]
        lines += [write(family, labels, numbers) for labels, numbers in found]
        yield "".join(lines).encode()


def _number(family: Family, labels: Labels, numbers: Sequence[float]) -> str:
    pairs = _pairs(family.labels, labels)
    return f"{family.name}{{{pairs}}} {_text(numbers[0])}\n" if pairs else f"{family.name} {_text(numbers[0])}\n"


def _histogram(family: Family, labels: Labels, numbers: Sequence[float]) -> str:
    name, pairs = family.name, _pairs(family.labels, labels)
    first = f"{name}_bucket{{{pairs}," if pairs else f"{name}_bucket{{"
    lines, count = [], 0.0
    for bound, number in zip(_bounds(family.bounds), numbers, strict=False):
        count += number
        lines.append(f'{first}le="{bound}"}} {count:.0f}\n')
    rest = f"{{{pairs}}}" if pairs else ""
    lines.append(f"{name}_sum{rest} {_text(numbers[-1])}\n{name}_count{rest} {count:.0f}\n")
    return "".join(lines)


@lru_cache(maxsize=64)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f"{bound:g}" for bound in bounds), "+Inf")


@lru_cache(maxsize=8192)
def _pairs(names: Labels, values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n").encode("utf-8", "replace").decode()
    return text.replace('"', '\\"') if quotes else text


def _text(number: float) -> str:
    if math.isinf(number) or math.isnan(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number == int(number) else repr(float(number))

"""`/-/metrics`: the numbers of all processes behind this address, in Prometheus's text format 0.0.4.

`prometheus_client` takes ten times as long for a page, and in one piece
(docs/decisions/0025). A bare ASGI application; must not know what is counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from floodgate.operations.metrics import Labels, Metric, Snapshot

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class MetricsPage:
    """Answers GET and HEAD, which is all that is let through to it; `collect` returns what is to be shown."""

    def __init__(self, collect: Callable[[], Awaitable[Snapshot]]) -> None:
        self._collect = collect

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store")]
        snapshot = await self._collect()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "GET":
            for text in texts(snapshot):
                await send({"type": "http.response.body", "body": text, "more_body": True})
                await asyncio.sleep(0)  # requests are served between two metrics: a page of 10,000 lines takes 6 ms
        await send({"type": "http.response.body", "body": b""})


def texts(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the text of each metric."""
    for name, series in snapshot.series.items():
        metric = snapshot.metrics[name]
        write = _histogram if metric.kind == "histogram" else _number
        lines = [f"# HELP {name} {_escaped(metric.help)}\n# TYPE {name} {metric.kind}\n"]
        lines += [write(metric, labels, numbers) for labels, numbers in series.items()]
        yield "".join(lines).encode()


def _number(metric: Metric, labels: Labels, numbers: Sequence[float]) -> str:
    pairs = _pairs(metric.labels, labels)
    return f"{metric.name}{{{pairs}}} {_text(numbers[0])}\n" if pairs else f"{metric.name} {_text(numbers[0])}\n"


def _histogram(metric: Metric, labels: Labels, numbers: Sequence[float]) -> str:
    name, pairs = metric.name, _pairs(metric.labels, labels)
    start, rest = (f"{name}_bucket{{{pairs},", f"{{{pairs}}}") if pairs else (f"{name}_bucket{{", "")
    counts = [*accumulate(numbers[:-1])]  # buckets are kept each by itself, and shown with all below them
    lines = [f'{start}le="{le}"}} {count:.0f}\n' for le, count in zip(_bounds(metric.bounds), counts, strict=True)]
    return f"{''.join(lines)}{name}_sum{rest} {_text(numbers[-1])}\n{name}_count{rest} {counts[-1]:.0f}\n"


@lru_cache(maxsize=64)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f"{bound:g}" for bound in bounds), "+Inf")


@lru_cache(maxsize=8192)
def _pairs(names: Labels, values: Labels) -> str:
    return ",".join(
        f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in zip(names, values, strict=True)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").encode("utf-8", "replace").decode()


def _text(number: float) -> str:
    if math.isfinite(number):
        return str(int(number)) if number == int(number) else repr(number)
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"

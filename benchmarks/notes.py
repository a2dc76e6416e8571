"""What really ran: handlers note their start and end in a file, the judges read it.

Owns the file's form. A client that left, or got a refusal, cannot tell whether
its handler ran; the handler can. Times are of the machine's monotonic clock,
which all processes on it share, so they compare with those of the generator.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared import Context

VARIABLE = "OVERLOAD_NOTES"
START, END = "S", "E"


@dataclass(slots=True)
class Run:
    """One run of a handler; `ended_s` is not a number while it has not ended."""

    request_id: str
    started_s: float
    left_s: float
    """Of its time, as the worker saw it at the start."""
    ended_s: float = math.nan

    @property
    def busy_s(self) -> float:
        return self.ended_s - self.started_s


@contextlib.contextmanager
def noted(context: Context) -> Iterator[None]:
    """Note start and end of the handler's run, however it ends."""
    _write(START, context, context.seconds_left)
    try:
        yield
    finally:
        _write(END, context, 0.0)


def read(path: Path) -> list[Run]:
    """Return all runs that were noted, in order of their start; a line cut short by a kill is left out."""
    runs: list[Run] = []
    under_way: dict[tuple[str, str], Run] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        words = line.split()
        if len(words) != 5:
            continue
        event, request_id, process_and_attempt, at, left = words
        key = (request_id, process_and_attempt)
        if event == START:
            under_way[key] = Run(request_id, float(at), float(left))
            runs.append(under_way[key])
        elif key in under_way:
            under_way.pop(key).ended_s = float(at)
    return runs


def _write(event: str, context: Context, left_s: float) -> None:
    file = _file(os.getpid())
    if file is not None:
        key = f"{os.getpid()}.{context.attempt}"
        os.write(file, f"{event} {context.request_id} {key} {time.monotonic():.6f} {left_s:.6f}\n".encode())


@functools.cache
def _file(process: int) -> int | None:
    # Appended in one short write, so lines of several processes do not mix.
    path = os.environ.get(VARIABLE)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if path else None

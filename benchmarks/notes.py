"""What really ran: handlers note their start and end in a file, the judges read it.

Owns the file's form, and where a predicted wait is found. A client that left, or was refused, cannot tell
whether its handler ran; the handler can. Times are of the machine's monotonic clock, which all processes
on it share, so they compare with those of the generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arrivals import Request
from shared import Context

VARIABLE = "BENCH_NOTES"
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
    """Notes start and end of the handler's run, however it ends."""
    _write(START, context, context.seconds_left)
    try:
        yield
    finally:
        _write(END, context, 0.0)


async def noted_sleep(context: Context, seconds: float) -> bool:
    """Takes so long, as a handler that waits for something does, and notes it."""
    with noted(context):
        await asyncio.sleep(seconds)
    return True


def read(path: Path) -> list[Run]:
    """Returns all runs that were noted, in order of their start; a line cut short by a kill is left out."""
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


def predictions(run: Path, requests: Sequence[Request], origin_s: float) -> Iterator[tuple[float, float]]:
    """Yields predicted and real wait in ms of every request that was answered well and has a known prediction.

    It stands in an answer's header, or as `predicted_ms` in the gateway's line for the request. The real wait is
    measured from outside: from the sending of the request to the first line of its handler.
    """
    logged = _logged(run / "gateway.log")
    started_s: dict[str, float] = {}
    for noted_run in read(run / "notes"):
        started_s.setdefault(noted_run.request_id, noted_run.started_s)
    for request in requests:
        predicted_ms = logged.get(request.id, request.predicted_ms)
        if request.status == 200 and not math.isnan(predicted_ms) and request.id in started_s:
            yield predicted_ms, (started_s[request.id] - origin_s - request.sent_s) * 1000


def _logged(log: Path) -> dict[str, float]:
    """Returns what the gateway's log says was predicted, by request id; nothing when it says nothing."""
    with log.open(errors="replace") as lines:
        parsed = [json.loads(line) for line in lines if '"predicted_ms"' in line]
    return {line["request_id"]: float(line["predicted_ms"]) for line in parsed}

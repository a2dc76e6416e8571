"""How long admission thought a request would wait, beside how long it did.

Owns where a prediction is found. The real wait is measured from outside: from the
sending of the request to the first line of its handler.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import notes
from benchmarks.arrivals import Request


def predictions(run: Path, requests: Sequence[Request], origin_s: float) -> Iterator[tuple[float, float]]:
    """Yield predicted and real wait in ms of every request that was answered well, and whose prediction is known.

    It stands in an answer's header, or as `predicted_ms` in the gateway's line for the request, which
    for a client that left has none. The real wait is from sending to the handler's start.
    """
    logged = _logged(run / "gateway.log")
    started_s: dict[str, float] = {}
    for noted in notes.read(run / "notes"):
        started_s.setdefault(noted.request_id, noted.started_s)
    for request in requests:
        told = logged.get(request.id, request.predicted_ms)
        if request.status == 200 and not math.isnan(told) and request.id in started_s:
            yield told, (started_s[request.id] - origin_s - request.sent_s) * 1000


def _logged(log: Path) -> dict[str, float]:
    """Return what the gateway's log says was predicted, by request id; nothing when it says nothing."""
    found: dict[str, float] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            if '"predicted_ms"' in line:
                told = json.loads(line)
                found[told["request_id"]] = float(told["predicted_ms"])
    return found

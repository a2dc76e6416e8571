"""A row per request, kept in a CSV file, so that every figure can be computed again.

Owns the columns. Times are in seconds from the start of the run, whose moment on
the monotonic clock stands in a file beside it: notes and samples are of that clock.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from benchmarks.arrivals import Request

ORIGIN = "origin"
TIMES = ("intended_s", "sent_s", "done_s")
COLUMNS = (
    *("number", "attempt", "kind", "path", "phase", *TIMES, "lag_s"),
    *("status", "reason", "retry_after_s", "predicted_ms", "left"),
)


def write(file: Path, requests: Iterable[Request], origin_s: float) -> None:
    """Write all rows; not-a-number stands for what there is not."""
    file.with_name(ORIGIN).write_text(f"{origin_s:.6f}\n")
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(COLUMNS)
        for r in requests:
            times = (f"{getattr(r, name) - origin_s:.6f}" for name in TIMES)
            rest = (r.status, r.reason, r.retry_after_s, r.predicted_ms, int(r.left))
            rows.writerow((r.number, r.attempt, r.kind, r.path, r.phase, *times, f"{r.lag_s:.6f}", *rest))


def read(file: Path) -> tuple[list[Request], float]:
    """Return the requests of a file, with their times as they stand there, and the moment these count from."""
    origin_s = float(file.with_name(ORIGIN).read_text())
    with file.open(newline="") as opened:
        return [_request(row) for row in csv.DictReader(opened)], origin_s


def _request(row: dict[str, str]) -> Request:
    return Request(
        number=int(row["number"]),
        at_s=float(row["intended_s"]),
        path=row["path"],
        kind=row["kind"],
        phase=int(row["phase"]),
        attempt=int(row["attempt"]),
        intended_s=float(row["intended_s"]),
        lag_s=float(row["lag_s"]),
        sent_s=float(row["sent_s"]),
        done_s=float(row["done_s"]),
        status=int(row["status"]),
        reason=row["reason"],
        retry_after_s=float(row["retry_after_s"]),
        predicted_ms=float(row["predicted_ms"]),
        left=row["left"] == "1",
    )

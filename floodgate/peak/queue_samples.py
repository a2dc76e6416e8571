"""How many requests wait and run on each route against its limit, as the gateway's `/-/metrics` tells.

Owns the names of the three metrics, and the file that they are kept in. Where there
are none, or they are not open to us (OPS_TOKEN opens them), there is nothing to show.
"""

from __future__ import annotations

import csv
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

PATH = "/-/metrics"
FILE = "queue.csv"
PATIENCE_S = 0.5
METRICS = {"floodgate_waiting": "waiting", "floodgate_running": "running", "floodgate_limit": "limit"}
SAMPLE = re.compile(r"^(\w+)\{(.*)\} ([-+.\w]+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
"""Lines of Prometheus' text format."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one route."""

    at_s: float
    route: str
    waiting: float
    running: float
    limit: float


class Queue:
    """Looks at the queue of a host until it turns out that there is nothing to see."""

    def __init__(self, host: str, directory: Path, told: Mapping[str, str]) -> None:
        token = told.get("OPS_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._request = urllib.request.Request(host + PATH, headers=headers)
        self._file = directory / FILE
        self._open = True

    def look(self) -> list[Look]:
        """Return a look at each route, and write it down."""
        if not self._open:
            return []
        at_s = time.time()
        try:
            with urllib.request.urlopen(self._request, timeout=PATIENCE_S) as answer:
                looks = parse(answer.read().decode(errors="replace"), at_s)
        except urllib.error.HTTPError:
            self._open = False
            return []
        except OSError:  # busy, or gone for a moment
            return []
        with self._file.open("a", newline="") as opened:
            csv.writer(opened).writerows(astuple(look) for look in looks)
        return looks


def parse(text: str, at_s: float) -> list[Look]:
    """Return what the text of all metrics says of the routes; samples of several series of a route add up."""
    found: dict[str, Counter[str]] = {}
    for metric, told, value in SAMPLE.findall(text):
        labels = dict(LABEL.findall(told))
        if metric in METRICS and "route" in labels:
            route = f"{labels.get('method', '')} {labels['route']}".strip()
            found.setdefault(route, Counter())[METRICS[metric]] += float(value)  # type: ignore[assignment]
    return [Look(at_s, route, n["waiting"], n["running"], n["limit"]) for route, n in found.items()]


def read(directory: Path) -> list[Look]:
    """Return all looks of a run."""
    file = directory / FILE
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [Look(float(at), route, float(w), float(r), float(most)) for at, route, w, r, most in csv.reader(opened)]

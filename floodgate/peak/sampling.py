"""What is sampled while a load runs, once a second: processor time of the processes, and the queue of each route.

Owns how the processes of a system on this machine are found (behind the port, and by name), the names of the three
metrics that tell of the queue, and the files of both. Must not know how a load is sent.
"""

from __future__ import annotations

import contextlib
import csv
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

PROCESSES, QUEUE = "processes.csv", "queue.csv"
HERE = {"127.0.0.1", "localhost", "::1", "0.0.0.0"}
NAMES = {
    "gateway": ("gateway_app",),
    "worker": ("worker_app",),
    "Redis": ("valkey-server", "redis-server"),
    "locust": ("locustfile.py",),
}
"""What a command line contains; a child without a word of its own is what its parent is."""
STARTER = "-m floodgate"
FIND_AGAIN_S = 3.0
METRICS_PATH = "/-/metrics"
PATIENCE_S = 0.5
METRICS = {"floodgate_waiting": "waiting", "floodgate_running": "running", "floodgate_limit": "limit"}
SAMPLE = re.compile(r"^(\w+)\{(.*)\} ([-+.\w]+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
"""Lines of Prometheus' text format."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """Processor time of all processes of a name, in cores, over the second before."""

    at_s: float
    name: str
    cores: float


class Processes:
    """Watches the system behind a host, when it is on this machine; nothing otherwise."""

    def __init__(self, host: str, directory: Path) -> None:
        parts = urlsplit(host)
        self._port = (parts.port or 80) if parts.hostname in HERE else None
        self._file = directory / PROCESSES
        self._known: dict[psutil.Process, str] = {}
        self._used: dict[psutil.Process, float] = {}
        self._found_s = self._sampled_s = 0.0

    def sample(self) -> dict[str, float]:
        """Returns name to cores since the last sample, and writes it down; the first one shows nothing."""
        if self._port is None:
            return {}
        if time.time() - self._found_s > FIND_AGAIN_S:
            self._known, self._found_s = _found(self._port), time.time()
        now_s = time.time()  # after the search, which takes a moment
        used: dict[psutil.Process, float] = {}
        cores: dict[str, float] = {}
        for process, name in self._known.items():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used[process] = times.user + times.system
                if process in self._used:
                    share = (used[process] - self._used[process]) / (now_s - self._sampled_s)
                    cores[name] = cores.get(name, 0.0) + share
        self._used, self._sampled_s = used, now_s
        with self._file.open("a", newline="") as opened:
            csv.writer(opened).writerows((f"{now_s:.3f}", name, f"{each:.4f}") for name, each in cores.items())
        return cores


def read_processes(directory: Path) -> list[ProcessSample]:
    """Returns all samples of a run."""
    file = directory / PROCESSES
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [ProcessSample(float(at_s), name, float(cores)) for at_s, name, cores in csv.reader(opened)]


def _found(port: int) -> dict[psutil.Process, str]:
    """Returns the processes of the system: all below what started the listener, else all that have its names."""
    running = {process.pid: process for process in psutil.process_iter(["ppid", "cmdline"])}
    names = {pid: _name(pid, running) for pid in running}
    root = _starter(port, running, names)
    family = {pid for pid in names if root in _line(pid, running)}
    whole = {"gateway", "worker"} <= {names[pid] for pid in family}
    return {
        running[pid]: name
        for pid, name in names.items()
        if name is not None and (name == "locust" or not whole or pid in family)
    }


def _starter(port: int, running: Mapping[int, psutil.Process], names: Mapping[int, str | None]) -> int:
    """Returns the process at the top of the system that listens on a port, 0 when there is none."""
    with contextlib.suppress(psutil.Error):
        for each in psutil.net_connections("tcp"):
            listens = each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
            if listens and each.pid is not None and each.pid in running:
                line = _line(each.pid, running)
                ours = [pid for pid in line if names[pid] is not None or STARTER in _command(running[pid])]
                return ours[-1] if ours else 0  # another program's port: there is nothing to show
    return 0


def _line(pid: int, running: Mapping[int, psutil.Process]) -> list[int]:
    """Returns a process and its ancestors."""
    line = []
    while pid in running and pid not in line:
        line.append(pid)
        pid = running[pid].info["ppid"]
    return line


def _name(pid: int, running: Mapping[int, psutil.Process]) -> str | None:
    for each in _line(pid, running):
        command = _command(running[each])
        for name, words in NAMES.items():
            if any(word in command for word in words):
                return name
    return None


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


@dataclass(frozen=True, slots=True)
class QueueSample:
    """One route at one moment."""

    at_s: float
    route: str
    waiting: float
    running: float
    limit: float


class Queue:
    """Samples the queue of a host until it answers that there is nothing to see."""

    def __init__(self, host: str, directory: Path, environment: Mapping[str, str]) -> None:
        token = environment.get("OPS_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._request = urllib.request.Request(host + METRICS_PATH, headers=headers)
        self._file = directory / QUEUE
        self._open = True

    def sample(self) -> list[QueueSample]:
        """Returns a sample of each route, and writes it down."""
        if not self._open:
            return []
        at_s = time.time()
        try:
            with urllib.request.urlopen(self._request, timeout=PATIENCE_S) as answer:
                samples = parse(answer.read().decode(errors="replace"), at_s)
        except urllib.error.HTTPError:
            self._open = False
            return []
        except OSError:  # busy, or gone for a moment
            return []
        with self._file.open("a", newline="") as opened:
            csv.writer(opened).writerows(astuple(sample) for sample in samples)
        return samples


def parse(text: str, at_s: float) -> list[QueueSample]:
    """Returns what the text of all metrics says of the routes; samples of several series of a route add up."""
    found: dict[str, Counter[str]] = {}
    for metric, written, value in SAMPLE.findall(text):
        labels = dict(LABEL.findall(written))
        if metric in METRICS and "route" in labels:
            route = f"{labels.get('method', '')} {labels['route']}".strip()
            found.setdefault(route, Counter())[METRICS[metric]] += float(value)  # type: ignore[assignment]
    return [QueueSample(at_s, route, n["waiting"], n["running"], n["limit"]) for route, n in found.items()]


def read_queue(directory: Path) -> list[QueueSample]:
    """Returns all samples of a run."""
    file = directory / QUEUE
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [
            QueueSample(float(at), route, float(w), float(r), float(most))
            for at, route, w, r, most in csv.reader(opened)
        ]

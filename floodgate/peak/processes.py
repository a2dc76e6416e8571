"""What else is looked at while a load runs, once a second: processor time of processes, and the queue.

Owns how the processes of a system on this machine are found: behind the port, and
by name. Must not know how a load is sent.
"""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

PROCESSES = "processes.csv"
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


@dataclass(frozen=True, slots=True)
class Look:
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
        self._found_s = self._looked_s = 0.0

    def look(self) -> dict[str, float]:
        """Return name to cores since the last look, and write it down; the first one shows nothing."""
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
                    share = (used[process] - self._used[process]) / (now_s - self._looked_s)
                    cores[name] = cores.get(name, 0.0) + share
        self._used, self._looked_s = used, now_s
        with self._file.open("a", newline="") as opened:
            csv.writer(opened).writerows((f"{now_s:.3f}", name, f"{each:.4f}") for name, each in cores.items())
        return cores


def read(directory: Path) -> list[Look]:
    """Return all looks of a run."""
    file = directory / PROCESSES
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [Look(float(at_s), name, float(cores)) for at_s, name, cores in csv.reader(opened)]


def _found(port: int) -> dict[psutil.Process, str]:
    """Return the processes of the system: all below what started the listener, else all that have its names."""
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
    """Return the process at the top of the system that listens on a port, 0 when there is none."""
    with contextlib.suppress(psutil.Error):
        for each in psutil.net_connections("tcp"):
            listens = each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
            if listens and each.pid is not None and each.pid in running:
                line = _line(each.pid, running)
                return [pid for pid in line if names[pid] is not None or STARTER in _command(running[pid])][-1:][0]
    return 0


def _line(pid: int, running: Mapping[int, psutil.Process]) -> list[int]:
    """Return a process and its ancestors."""
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

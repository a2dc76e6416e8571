"""Adds up the metrics of the processes behind one port, which do not know each other.

Each writes a snapshot into a directory once a second; the one that is scraped reads
them all. No sum that was shown ever goes back, whoever dies. Must not know what is counted.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from floodgate.operations.logs import fields
from floodgate.operations.metrics import CPU_SECONDS, LOOP_LAG, PROCESSES, READY, Labels, Metric, Metrics, Snapshot

log = logging.getLogger("floodgate")

MEASURE_S = 0.25
"""Between two looks at the own process: an event loop that is blocked for longer is noticed for certain."""
LOOKS_PER_WRITE = 4
"""A snapshot per second. What a process counted since its last one is lost when it is killed."""
SNAPSHOT, LOCK = ".snapshot.json", ".lock"
TOTALS = "totals.json"
FOLD_LOCK = "fold"
KEPT_NAMES = 256
"""Names of folded files that the totals remember: a read takes milliseconds, in which fewer processes die."""


class ProcessMetrics:
    """Measures this process, and shares what it counts with the others behind its port.

    `update` is called at each look, to set what is not counted as it happens. Without a
    `directory` the process is alone.
    """

    def __init__(
        self, metrics: Metrics, directory: Path | None, is_ready: Callable[[], bool], update: Callable[[], None]
    ) -> None:
        self._metrics = metrics
        self._processes = metrics.gauge(PROCESSES)
        self._ready = metrics.gauge(READY)
        self._cpu = metrics.counter(CPU_SECONDS)
        self._lag = metrics.histogram(LOOP_LAG)
        self._is_ready = is_ready
        self._update = update
        self._failed = False
        self._files: MetricsFiles | None = None
        if directory is not None:
            try:
                self._files = MetricsFiles(directory)
            except OSError as error:
                self._say_failed(error)

    async def collect(self) -> Snapshot:
        """Return the sum over all processes behind this port.

        Nothing is shown that was not written before: a process that is killed right
        after a scrape has lost nothing of what the scraper has seen.
        """
        self.share()
        snapshot = self._metrics.snapshot()
        if self._files is not None:
            try:
                await self._files.add_others(snapshot)
            except OSError as error:
                self._say_failed(error)
        return snapshot

    def share(self) -> None:
        """Measure, and write the own numbers."""
        self._measure()
        if self._files is not None:
            try:
                self._files.write(self._metrics)
                self._failed = False
            except OSError as error:  # no room, or the directory is gone; tried again a second later
                self._say_failed(error)

    async def run(self) -> None:
        """Measure and share until cancelled."""
        while True:
            self.share()
            for _ in range(LOOKS_PER_WRITE):
                due_s = time.monotonic() + MEASURE_S  # uvloop's own clock stands still within a turn of the loop
                await asyncio.sleep(MEASURE_S)
                self._lag.observe(max(0.0, time.monotonic() - due_s))
                self._measure()

    def _measure(self) -> None:
        self._processes.set(1)
        self._ready.set(self._is_ready())
        self._cpu.value = time.process_time()
        self._update()

    def _say_failed(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            log.error("metrics are not shared between the processes behind this port", extra=fields(reason=str(error)))


class MetricsFiles:
    """The directory of snapshots, and this process's own file in it.

    Each process holds a lock from before its first snapshot until its end, however it
    ends. A process id would be given again, and a file that is not written may be of a
    process that stands still. A record lock: a child that a handler forks does not hold it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._head = b""
        self._unreadable: set[str] = set()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / f"{self._name}{LOCK}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # never closed: the kernel does it when the process ends

    def write(self, metrics: Metrics) -> None:
        """Replace the own file whole, so that nobody reads half of it."""
        self._head = self._head or encode_head(metrics.series)
        numbers = [number for series in metrics.series.values() for number in series.numbers()]
        self._replace(f"{self._name}{SNAPSHOT}", self._head, numbers)

    async def add_others(self, snapshot: Snapshot) -> None:
        """Add the numbers of all others, gauges of the living only; fold the dead into the totals.

        Requests are served between two files: adding one of 10,000 lines takes 3 ms.
        """
        # A process that dies after it was looked at is counted by its last file. What is folded meanwhile is in the
        # totals, which are read last and name what they contain: no count is missed, and none is added twice.
        dead = {name: self._is_dead(name) for name in self._names()}
        contents = {name: self._read(f"{name}{SNAPSHOT}") for name in dead}
        totals = self._read(TOTALS)
        for name, content in contents.items():
            if name not in totals.folded:
                content.add_to(snapshot, gauges=not dead[name])
                await asyncio.sleep(0)
        totals.add_to(snapshot, gauges=False)
        if any(dead.values()):
            try:
                self._fold()
            except OSError as error:  # no room: what is not folded is read again
                log.warning("snapshots of dead processes are not folded", extra=fields(reason=str(error)))

    def _fold(self) -> None:
        """Move the counts of dead processes into the totals, unless another process is at it."""
        lock = os.open(self._directory / FOLD_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            before, sum_ = self._read(TOTALS), Snapshot()
            before.add_to(sum_, gauges=False)
            dead = [name for name in self._names() if self._is_dead(name)]
            for name in dead:
                if name not in before.folded:  # else a fold was cut short after it had replaced the totals
                    self._read(f"{name}{SNAPSHOT}").add_to(sum_, gauges=False)
            names = [*(name for name in before.folded if name not in dead), *dead][-max(KEPT_NAMES, len(dead)) :]
            series = [(sum_.metrics[name], labels) for name, found in sum_.series.items() for labels in found]
            numbers = [number for metric, labels in series for number in sum_.numbers(metric, *labels)]
            # First the totals, then the files: cut short in between, a file that the totals name is not added again.
            self._replace(TOTALS, encode_head(series, names), numbers)
            for name in dead:
                (self._directory / f"{name}{SNAPSHOT}").unlink()
                (self._directory / f"{name}{LOCK}").unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _replace(self, file: str, head: bytes, numbers: list[float]) -> None:
        new = self._directory / f".{self._name}.new"
        new.write_bytes(b"%s\n%s" % (head, json.dumps(numbers).encode()))
        new.replace(self._directory / file)

    def _read(self, file: str) -> Content:
        try:
            return decode((self._directory / file).read_bytes())
        except FileNotFoundError:  # folded meanwhile; or nothing is folded yet
            pass
        except ValueError as error:
            if file not in self._unreadable:
                self._unreadable.add(file)
                log.error("a metrics file cannot be read", extra=fields(file=file, reason=str(error)))
        return Content((), (), [])

    def _names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            files = sorted(entry.name for entry in entries if entry.is_file() and entry.name.endswith(SNAPSHOT))
        return [name for name in (file.removesuffix(SNAPSHOT) for file in files) if name != self._name]

    def _is_dead(self, name: str) -> bool:
        try:
            file = os.open(self._directory / f"{name}{LOCK}", os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look at once do not see each other
        except OSError:
            return False
        finally:
            os.close(file)
        return True


@dataclass(frozen=True, slots=True)
class Content:
    """What a file says: the numbers of these series, one after the other. `folded` names the files that are in it."""

    series: tuple[tuple[Metric, Labels], ...]
    folded: tuple[str, ...]
    numbers: list[float]

    def add_to(self, snapshot: Snapshot, *, gauges: bool) -> None:
        """Add all to a snapshot; the gauges only of a process that lives."""
        at, numbers, put = 0, self.numbers, snapshot.put
        for metric, labels in self.series:
            end = at + metric.width
            if gauges or metric.kind != "gauge":
                put(metric, labels, numbers[at:end])
            at = end


def encode_head(series: Iterable[tuple[Metric, Labels]], folded: Iterable[str] = ()) -> bytes:
    """Return a file's first line. It stays the same while a process lives, so it is made once, and parsed once."""
    by_metric: dict[Metric, int] = {}
    listed = [[by_metric.setdefault(metric, len(by_metric)), *labels] for metric, labels in series]
    metrics = [[m.name, m.kind, m.help, m.labels, m.bounds] for m in by_metric]
    return json.dumps({"metrics": metrics, "series": listed, "folded": [*folded]}).encode()


def decode(content: bytes) -> Content:
    """Return what a file says; raises `ValueError` for anything that is no such file."""
    head, _, rest = content.partition(b"\n")
    try:
        (series, folded), numbers = _decode_head(head), json.loads(rest)
        sum(numbers)  # raises for what is no number
        if len(numbers) != sum(metric.width for metric, _ in series):
            raise ValueError("as many numbers as its series have were expected")
        return Content(series, folded, numbers)
    except (TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError("not a file of metrics") from error


@lru_cache(maxsize=16)
def _decode_head(head: bytes) -> tuple[tuple[tuple[Metric, Labels], ...], tuple[str, ...]]:
    parts = json.loads(head)
    metrics = [
        Metric(str(name), kind, str(text), tuple(labels), tuple(bounds))
        for name, kind, text, labels, bounds in parts["metrics"]
    ]
    series = tuple((metrics[number], tuple(map(str, labels))) for number, *labels in parts["series"])
    if any(len(labels) != len(metric.labels) for metric, labels in series):
        raise ValueError("a series has other labels than its metric")
    return series, tuple(map(str, parts["folded"]))

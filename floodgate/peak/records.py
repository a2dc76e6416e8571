"""A row per request, written by every process that sends, read while they go on.

Owns the columns and the files. Times are seconds of the wall clock, which all
processes of a machine share. Must not know what a good answer is.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TextIO

ASKED = "asked.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One request and its answer."""

    due_s: float
    """When its turn was; of a task's later requests, when it was sent."""
    sent_s: float
    done_s: float
    route: str
    status: int
    """0 when there was no answer; then `error` tells why."""
    paced: bool
    """It began a task, at its turn: these keep the rate."""
    retry_after: bool
    error: str = ""
    first_s: float | None = None
    """Of a stream: when its first item began to arrive."""

    @property
    def latency_s(self) -> float:
        """From its turn, so that a generator which is behind makes nothing look faster.

        Of a stream, to its first item.
        """
        return (self.done_s if self.first_s is None else self.first_s) - self.due_s

    @property
    def end_latency_s(self) -> float:
        """From its turn to the end of its answer."""
        return self.done_s - self.due_s


class Writer:
    """Appends rows to a file of this process's own, which is opened by the first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: TextIO | None = None

    def add(self, row: Row) -> None:
        if self._file is None:
            self._file = (self._directory / f"rows-{os.getpid()}.csv").open("w", newline="")
        times = (f"{each:.6f}" for each in (row.due_s, row.sent_s, row.done_s))
        csv.writer(self._file).writerow(
            (*times, row.route, row.status, int(row.paced), int(row.retry_after), row.error, _written(row.first_s))
        )

    def flush(self) -> None:
        """Lets readers see what was added."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Tail:
    """Reads what all writers of a directory have flushed since the last look."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}

    def new(self) -> list[Row]:
        """Returns the rows that were not there before."""
        found: list[Row] = []
        for file in sorted(self._directory.glob("rows-*.csv")):
            with file.open("rb") as opened:
                opened.seek(self._read.get(file, 0))
                data = opened.read()
            whole = data.rfind(b"\n") + 1  # a line may be half written; no field has a line break
            self._read[file] = self._read.get(file, 0) + whole
            found += _rows(data[:whole].decode())
        return found


def read(directory: Path) -> list[Row]:
    """Returns all rows of a run, by the time of their turn."""
    return sorted(Tail(directory).new(), key=lambda row: row.due_s)


@dataclass(frozen=True, slots=True)
class Asked:
    """From a moment on so many users were asked for; none after the end."""

    at_s: float
    users: int


def note_asked(directory: Path, asked: Asked) -> None:
    """Appends to what was asked for."""
    with (directory / ASKED).open("a", newline="") as opened:
        csv.writer(opened).writerow(astuple(asked))


def read_asked(directory: Path) -> list[Asked]:
    """Returns what was asked for, in order."""
    file = directory / ASKED
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [Asked(float(at_s), int(users)) for at_s, users in csv.reader(opened)]


def _rows(text: str) -> Iterator[Row]:
    for due, sent, done, route, status, paced, retry_after, error, first in csv.reader(text.splitlines()):
        times = float(due), float(sent), float(done)
        first_s = float(first) if first else None
        yield Row(*times, route, int(status), paced == "1", retry_after == "1", error, first_s)


def _written(first_s: float | None) -> str:
    return "" if first_s is None else f"{first_s:.6f}"

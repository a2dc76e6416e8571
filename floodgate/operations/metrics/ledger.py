"""Where one process counts: cells of a file that it maps, so that a killed process loses no count.

Adding to a cell takes 40 ns and no system call. The file has one writer, which
holds a lock on it until its end, however it ends. Must not know what is counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import secrets
from bisect import bisect_left
from pathlib import Path

from floodgate.operations.logs import fields
from floodgate.operations.metrics.families import Family
from floodgate.operations.metrics.siblings import SUFFIX, Siblings
from floodgate.operations.metrics.snapshot import CELL_BYTES, Header, Row, Snapshot, header_of, read_header

log = logging.getLogger("floodgate")


class Ledger:
    """The series of one process. All are named first; `open` then makes room for them, after the fork."""

    __slots__ = ("_file", "_header", "_rows", "_siblings", "_size", "cells")

    cells: memoryview[float]

    def __init__(self) -> None:
        self._rows: dict[Row, int] = {}
        self._size = 0
        self._file: int | None = None
        self._siblings: Siblings | None = None

    def row(self, family: Family, *labels: str) -> int:
        """Return where the numbers of a series begin."""
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has the labels {family.labels}")
        key = (family, labels)
        if key not in self._rows:
            self._rows[key] = self._size
            self._size += family.width
        return self._rows[key]

    def counter(self, family: Family, *labels: str) -> Counter:
        return Counter(self, self.row(family, *labels))

    def gauge(self, family: Family, *labels: str) -> Gauge:
        return Gauge(self, self.row(family, *labels))

    def histogram(self, family: Family, *labels: str) -> Histogram:
        return Histogram(self, self.row(family, *labels), family.bounds)

    def open(self, directory: Path | None) -> None:
        """Make the cells: in a file that siblings read, or, without a directory or room in it, in memory of its own."""
        start = header_of(self._rows)
        self._header: Header = read_header(start)
        length = max(1, self._size) * CELL_BYTES
        if directory is not None:
            try:
                self._share(directory, start + bytes(length))
            except OSError as error:
                log.error("figures that siblings do not see: no file for them", extra=fields(reason=str(error)))
            else:
                return
        memory = mmap.mmap(-1, length)
        self.cells = memoryview(memory).cast("d")

    def _share(self, directory: Path, content: bytes) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        new = directory / f".{name}"  # siblings see it when it is whole and locked
        self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Written to the end: where there is no room left, counting into a hole would end the process (SIGBUS).
            if os.write(self._file, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # A record lock is the process's own: it ends with it, and a forked child does not hold it.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            memory = mmap.mmap(self._file, len(content))
            os.rename(new, directory / name)
        except OSError:
            self.close()
            new.unlink(missing_ok=True)
            raise
        self.cells = memoryview(memory)[self._header.length :].cast("d")
        self._siblings = Siblings(directory, name)

    def snapshot(self) -> Snapshot:
        """Return the own figures and all siblings'."""
        found = self._header.snapshot(self.cells.tolist())
        if self._siblings is not None:
            found.add(self._siblings.read())
        return found

    def close(self) -> None:
        """Let the siblings know that this process counts no more."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


class Counter:
    """One series that only grows."""

    __slots__ = ("_at", "_ledger")

    def __init__(self, ledger: Ledger, at: int) -> None:
        self._ledger = ledger
        self._at = at

    def add(self, count: float = 1) -> None:
        self._ledger.cells[self._at] += count

    def reach(self, count: float) -> None:
        """Take over a count that is kept elsewhere in this process."""
        self._ledger.cells[self._at] = count


class Gauge:
    """One series that goes up and down; siblings' are added up while they live."""

    __slots__ = ("_at", "_ledger")

    def __init__(self, ledger: Ledger, at: int) -> None:
        self._ledger = ledger
        self._at = at

    def set(self, value: float) -> None:
        self._ledger.cells[self._at] = value


class Histogram:
    """One series of buckets, and the sum after them."""

    __slots__ = ("_at", "_bounds", "_ledger", "_sum")

    def __init__(self, ledger: Ledger, at: int, bounds: tuple[float, ...]) -> None:
        self._ledger = ledger
        self._at = at
        self._bounds = bounds
        self._sum = at + len(bounds) + 1

    def observe(self, value: float) -> None:
        cells = self._ledger.cells
        cells[self._at + bisect_left(self._bounds, value)] += 1
        cells[self._sum] += value

"""The figures of the other processes behind the same port, of those too that have died.

What has died is folded into one file, so that a directory stays small; a fold that
is cut short counts nothing twice. No count that was shown ever shrinks.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

from floodgate.operations.logs import fields
from floodgate.operations.metrics.snapshot import CELL_BYTES, Header, Snapshot, header_of, read_header

log = logging.getLogger("floodgate")

SUFFIX = ".cells"
TRIES = 5
"""A read that meets a fold begins again; folds are as rare as deaths."""
_TOTALS = "dead.totals"
_LOCK = "fold.lock"

Version = tuple[int, int] | None
Content = tuple[Header, list[float]]


class Siblings:
    """Reads a directory of figures; `own` is the name of this process's file, which nobody else writes."""

    def __init__(self, directory: Path, own: str) -> None:
        self._directory = directory
        self._own = own
        self._strange: set[str] = set()

    def read(self) -> Snapshot:
        """Return the sum over all others, gauges of the living only; fold what has died."""
        found = Snapshot()
        dead: list[str] = []
        for _ in range(TRIES):
            before = self._version()
            with contextlib.suppress(FileNotFoundError):  # folded meanwhile
                found, dead = self._sum()
                if self._version() == before:
                    break
        if dead:
            try:
                self._fold()
            except OSError as error:  # no room, or the directory is gone: what is not folded is read again
                log.warning("figures of dead processes stay where they are", extra=fields(reason=str(error)))
        return found

    def _sum(self) -> tuple[Snapshot, list[str]]:
        found, folded = self._totals()
        dead = []
        for name in self._names(folded):
            with _opened(self._directory / name) as file:
                is_dead = _is_dead(file)
                if is_dead:
                    dead.append(name)
                if (content := self._content(name, file)) is not None:
                    found.add(content[0].snapshot(content[1]), gauges=not is_dead)
        return found, dead

    def _fold(self) -> None:
        """Move the counts of the dead into the totals; whoever folds already will do it."""
        with _opened(self._directory / _LOCK, os.O_RDWR | os.O_CREAT) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            totals, folded = self._totals()
            here = set(os.listdir(self._directory))
            gone = {name for name in folded if name in here}
            for name in self._names(folded):
                with _opened(self._directory / name) as file:
                    if _is_dead(file):
                        gone.add(name)
                        if (content := self._content(name, file)) is not None:
                            totals.add(content[0].snapshot(content[1]), gauges=False)
            self._write(totals, gone)
            for name in gone:
                os.unlink(self._directory / name)

    def _write(self, totals: Snapshot, folded: set[str]) -> None:
        rows = [(totals.families[name], labels) for name, labels in totals.rows]
        numbers = [number for row in totals.rows.values() for number in row]
        new = self._directory / f".{self._own}.totals"
        new.write_bytes(header_of(rows, sorted(folded)) + array("d", numbers).tobytes())
        os.replace(new, self._directory / _TOTALS)

    def _totals(self) -> tuple[Snapshot, frozenset[str]]:
        try:
            with _opened(self._directory / _TOTALS) as file:
                found = self._content(_TOTALS, file)
        except FileNotFoundError:
            found = None
        return (Snapshot(), frozenset()) if found is None else (found[0].snapshot(found[1]), found[0].folded)

    def _names(self, folded: frozenset[str]) -> list[str]:
        return [
            name
            for name in sorted(os.listdir(self._directory))
            if name.endswith(SUFFIX) and not name.startswith(".") and name != self._own and name not in folded
        ]

    def _content(self, name: str, file: int) -> Content | None:
        try:
            return _read(file)
        except (ValueError, OSError) as error:  # whoever else puts something here: a directory, a pipe
            if name not in self._strange:
                self._strange.add(name)
                log.error("figures that cannot be read", extra=fields(file=name, reason=str(error)))
            return None

    def _version(self) -> Version:
        try:
            found = os.stat(self._directory / _TOTALS)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


def _read(file: int) -> Content:
    """Return a file's header and cells. Mapped: a cell that is written meanwhile is read as a whole."""
    if os.fstat(file).st_size == 0:
        raise ValueError("an empty file")
    memory = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    header = read_header(memory[:])
    end = header.length + header.cells * CELL_BYTES
    if len(memory) < end:
        raise ValueError("cut short")
    cells: memoryview[float] = memoryview(memory)[header.length : end].cast("d")
    return header, list(cells)


def _is_dead(file: int) -> bool:
    """Tell whether nobody holds the writer's lock any more."""
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    file = os.open(path, flags | os.O_NONBLOCK, 0o600)  # a pipe's opening would wait for who writes, and all with it
    try:
        yield file
    finally:
        os.close(file)

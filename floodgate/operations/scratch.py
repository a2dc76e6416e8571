"""A directory for the processes of one master, gone when they are: those of masters that were killed are swept.

A lock tells who lives, not a process id: those come again, and containers may share
memory but not ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
"""Files that are written often stand here where there is one: on a disk, writing may block the loop."""
PREFIX = "floodgate-figures-"
_LOCK = "alive"


def make(place: Path | None = None) -> Path:
    """Make one, in memory if there is a place for it; sweep what others have left there."""
    if place is None:
        place = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    sweep(place)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    new = directory / f".{_LOCK}"
    # Held until the last process that has it open ends: the master, and all that it forks. Never closed on purpose.
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    new.rename(directory / _LOCK)
    return directory


def sweep(place: Path) -> None:
    """Remove directories whose processes are all gone."""
    for lock in place.glob(f"{PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # another user's, or one that somebody else sweeps
            file = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(file)

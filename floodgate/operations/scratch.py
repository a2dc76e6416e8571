"""A directory that the processes of one master share their metrics in, removed when the last of them has ended.

A lock tells whether one of them lives, not a process id: ids are given again, and
containers may share the memory file system but not the ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
"""Files that are written every second are kept here if it exists: a write to a disk may block the event loop."""
PREFIX = "floodgate-metrics-"
_LOCK = "alive"


def make(parent: Path | None = None) -> Path:
    """Create one, in memory where that can be written; remove those that killed masters have left there."""
    if parent is None:
        parent = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    sweep(parent)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    new = directory / f".{_LOCK}"
    # Held until the last process ends that has it open: the master, or what it forks. So it is never closed.
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    new.rename(directory / _LOCK)  # only now: `sweep` of another master takes an unlocked one for abandoned
    return directory


def sweep(parent: Path) -> None:
    """Remove the directories whose processes have all ended."""
    for lock in parent.glob(f"{PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # another user's, locked, or removed meanwhile by another master
            file = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(file)

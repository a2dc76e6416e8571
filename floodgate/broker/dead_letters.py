"""The dead letters as they are stored: the calls that read and delete them, and the reader of an entry.

What is read may be anybody's: each part is bounded, and what cannot be a letter of
ours has no task. Pure; must not know handlers or HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from floodgate.broker.commands import Call
from floodgate.broker.decoding import list_of, number, numbers
from floodgate.broker.envelopes import Headers, Task, unpack_beginning, unpack_path, unpack_task
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS
from floodgate.errors import DecodeError

ENTRY = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
MOST_READ = 100
"""Letters of one call: a script stops everything else while it runs."""
MOST_BYTES = 21 * 1024
"""What a letter takes at most: 16 KiB of the task (`lib/dead_letters.lua`), its names, and what Redis adds."""
_FIELDS = 11
"""Of a letter, as `letters.lua` lists them."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """One entry. `task` is there when all of it was kept, and can be read."""

    entry: str
    lost_at_ms: int
    task_id: str
    route: str
    attempts: int
    workers: tuple[str, ...]
    signature: str
    """Digest of the route, as the workers of its lane had it; '' when they had published none."""
    cut: bool
    """The task was larger than what is kept, or was not to be kept."""
    size_bytes: int
    task: Task | None
    request_id: str
    caller: str | None
    path: dict[str, str]
    query: str
    headers: Headers
    body: bytes
    """The beginning of it, where it was cut."""


@dataclass(frozen=True, slots=True)
class Letters:
    """A page of them, and how many there are."""

    count: int
    page: tuple[StoredLetter, ...]


def entries_within(most_bytes: int) -> int:
    """Return how many letters never take more than that; at least one."""
    return max(1, most_bytes // MOST_BYTES)


def read_letters(keys: Keys, *, before: str = "", most: int = MOST_READ) -> Call[Letters]:
    """Read the newest letters, or those `before` an entry; raises `ValueError` for what is no entry."""
    newest = f"({_entry(before)}" if before else "+"
    return Call(SCRIPTS["letters"], keys.prefix, (newest, "-", max(1, min(most, MOST_READ))), _read)


def read_letter(keys: Keys, entry: str) -> Call[Letters]:
    """Read one letter, if it is there; raises `ValueError` for what is no entry."""
    return Call(SCRIPTS["letters"], keys.prefix, (_entry(entry), _entry(entry), 1), _read)


def discard_letter(keys: Keys, entry: str) -> Call[bool]:
    """Delete a letter; reads as whether it was there. Raises `ValueError` for what is no entry."""
    return Call(SCRIPTS["discard_letter"], keys.prefix, (_entry(entry),), lambda reply: numbers(reply, 2, 0)[1] == 1)


def _entry(text: str) -> str:
    if not ENTRY.fullmatch(text) or any(int(part) >= 1 << 64 for part in text.split("-")):
        raise ValueError("a dead letter is called <number>-<number>")
    return text


def _read(reply: object) -> Letters:
    parts = list_of(reply, 2)
    _, count = numbers(parts[:2], 2)
    if (len(parts) - 2) % (1 + _FIELDS):
        raise DecodeError("letters of another length")
    pages = [_letter(parts[at : at + 1 + _FIELDS]) for at in range(2, len(parts), 1 + _FIELDS)]
    return Letters(count, tuple(pages))


def _letter(parts: Sequence[object]) -> StoredLetter:
    if not all(isinstance(part, bytes) for part in parts):
        raise DecodeError("a letter with something else for a text")
    raw = [part for part in parts if isinstance(part, bytes)]
    texts = [part.decode("utf-8", "replace") for part in raw]
    entry, task_id, attempts, workers, signature, cut, _, request_id, caller, _, query, _ = texts
    blob, path = raw[6], raw[9]
    headers, body = unpack_beginning(raw[11])
    task = _task(blob, task_id) if blob else None
    if task is not None:
        request_id, caller, query = task.request_id, task.caller or "", task.query
        headers, body = task.headers, task.body
    return StoredLetter(
        entry=entry,
        lost_at_ms=number(entry.partition("-")[0].encode()),
        task_id=task_id,
        route=task_id.partition(".")[0],
        attempts=number(attempts.encode()),
        workers=tuple(workers.split()),
        signature=signature,
        cut=bool(cut),
        size_bytes=number(cut.encode()) if cut else len(blob),
        task=task,
        request_id=request_id,
        caller=caller or None,
        path=task.path if task is not None else unpack_path(path),
        query=query,
        headers=headers,
        body=body,
    )


def _task(blob: bytes, task_id: str) -> Task | None:
    try:
        task = unpack_task(blob)
    except DecodeError:  # and what another version wrote
        return None
    return task if task_id.startswith(f"{task.route}.") else None

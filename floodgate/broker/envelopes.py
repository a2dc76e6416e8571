"""The two envelopes that travel through Redis, and their only codec.

A task goes from gateway to worker, a reply back. The dataclasses' fields, in their
order, are what is packed. Pure: bytes in, dataclasses out, no I/O. Whatever Redis
returns is hostile until `unpack_*` has checked it; anything else raises `DecodeError`,
or `UnsupportedVersion` for another version's envelope.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from types import NoneType
from typing import Any, cast

import msgpack

from floodgate.errors import DecodeError, UnsupportedVersion

VERSION = 2
"""Of both envelopes; the scripts write it too (`lib/tasks.lua`)."""
_DEADLINE_DIGITS = 13
_ARRAY_OF_TWO = b"\x92"
_BIN_LENGTHS = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}
"""Bytes that say the length of bytes, by their type."""
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
RESERVED_HEADERS = frozenset({b"connection", b"content-length", b"transfer-encoding", b"x-request-id"})
"""Names that the gateway sets itself: a second one beside it would be another framing."""
MOST_MS = 7_200_000
"""Longer than any time-out."""
_HEADER_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, and values, as HTTP sends them; a name may come twice."""


class TaskOutcome(StrEnum):
    """How an admitted task ended."""

    DONE = "done"
    """The handler's own answer: its status, its body."""
    FAILED = "failed"
    """The handler raised, or its result could not be sent."""
    EXPIRED = "expired"
    """Nobody answered by the deadline."""
    LOST = "lost"
    """Its worker died, and it may not be started again."""
    DROPPED = "dropped"
    """It was not started, since its gateway seemed to be gone."""
    KEPT = "kept"
    """It has ended, and its answer is kept where that of a 202 is, or with the `Idempotency-Key`."""
    AGAIN = "again"
    """The task that it had joined was taken off its lane: it is to be admitted itself."""
    CHUNK = "chunk"
    """It goes on: a part of a streamed answer."""


_OUTCOMES = {outcome.value: outcome for outcome in TaskOutcome}


@dataclass(slots=True)
class Task:
    """One admitted request. What the scripts read stands first.

    Nobody changes one. Not frozen, since each of its fields would then take a call to be set.
    """

    deadline_ms: int
    route: str
    lane: str
    inbox: str
    attempts: int
    flow: str
    weight: int
    budget_ms: int
    request_id: str
    caller: str | None = None
    path: dict[str, str] = field(default_factory=dict)
    """Path parameters as they came."""
    query: str = ""
    """The raw query string."""
    headers: Headers = ()
    """Those that the handler declares, and its body's type."""
    body: bytes = b""
    claims: dict[str, Any] = field(default_factory=dict)
    stream_until_ms: int = 0
    """Where the answer is streamed: its deadline from its head on. Packed only where it is."""
    window_bytes: int = 0
    """How much of a stream may be under way that its client has not taken."""


@dataclass(frozen=True, slots=True)
class TaskReply:
    """One answer on its way back; `body` is final, the gateway does not look into it."""

    task_id: str
    outcome: TaskOutcome
    status: int = 0
    headers: Headers = ()
    body: bytes = b""
    wait_ms: int = 0
    run_ms: int = 0


@dataclass(frozen=True, slots=True)
class StreamReply(TaskReply):
    """A part of a streamed answer, or its end, which may bring the last part with it.

    Parts and end are numbered from 1 on per run. The first one brings status and headers.
    """

    number: int = 1
    run: str = ""
    """The run's lease: parts of two runs do not fit together."""


_PLAIN: dict[Any, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bytes": (bytes,),
    "str | None": (str, NoneType),
    "dict[str, str]": (dict,),
    "dict[str, Any]": (dict,),
    "TaskOutcome": (str,),
}
"""What a field's annotation may be in msgpack."""


def _combinations(names: Sequence[str], of: type[Any], headers: type) -> set[tuple[type, ...]]:
    """Return the types that the parts may have, compared as a whole: a fifth of the time that patterns take."""
    types = {field.name: field.type for field in fields(of)}
    return set(itertools.product(*(_PLAIN.get(types[name], (headers,)) for name in names)))


_TASK = [field.name for field in fields(Task)][1:]  # the deadline stands before both parts, as digits
_HEADER_FIELDS, _BODY_FIELDS, _STREAM_FIELDS = _TASK[:7], _TASK[7:-2], _TASK[-2:]
_header_of, _body_of, _stream_of = (attrgetter(*names) for names in (_HEADER_FIELDS, _BODY_FIELDS, _STREAM_FIELDS))
_TASK_HEADERS = _combinations(_HEADER_FIELDS, Task, list)
_TASK_BODIES = {
    (int, *types)
    for names in (_BODY_FIELDS, _BODY_FIELDS + _STREAM_FIELDS)
    for types in _combinations(names, Task, list)
}
_REPLY_FIELDS = [field.name for field in fields(TaskReply)]
_reply_of = attrgetter(*_REPLY_FIELDS)
_REPLIES = {(int, *types) for types in _combinations(_REPLY_FIELDS, TaskReply, tuple)}
_STREAM_REPLY_FIELDS = [field.name for field in fields(StreamReply)]
_stream_reply_of = attrgetter(*_STREAM_REPLY_FIELDS)
_STREAM_REPLIES = {(int, *types) for types in _combinations(_STREAM_REPLY_FIELDS, StreamReply, tuple)}
_SHORT_REPLY = (int, str, str)


def pack_task(task: Task) -> bytes:
    """Render a task: 13 digits deadline, msgpack header for the scripts, msgpack body for the worker."""
    stream = _stream_of(task) if task.stream_until_ms else ()
    return join_task(task.deadline_ms, pack_header(*_header_of(task)), *_body_of(task), *stream)


def pack_header(*header: str | int) -> bytes:
    """Render what the scripts read of a task, from `route` to `budget_ms`: the same for all that ask for the same."""
    return cast(bytes, msgpack.packb(header))


def join_task(deadline_ms: int, header: bytes, *body: object) -> bytes:
    """Render a task of a packed header and the fields from `request_id` on: a `Task` takes as long to make again."""
    return b"%013d" % deadline_ms + header + cast(bytes, msgpack.packb((VERSION, *body)))


def unpack_task(blob: bytes) -> Task:
    """Read what `pack_task` wrote; raises `DecodeError`, `UnsupportedVersion`."""
    digits = blob[:_DEADLINE_DIGITS]
    if len(digits) < _DEADLINE_DIGITS or not digits.isdigit():
        raise DecodeError("a task without a deadline")
    header, rest = _unpack_two(blob[_DEADLINE_DIGITS:])
    if _types(header) not in _TASK_HEADERS:
        raise DecodeError("a task with a malformed header")
    _check_version(rest)
    if _types(rest) not in _TASK_BODIES:
        raise DecodeError("a task with a malformed body")
    task = Task(int(digits), *header, *rest[1:])
    if task.path and not all(isinstance(k, str) and isinstance(v, str) for k, v in task.path.items()):
        raise DecodeError("a task with malformed path parameters")
    if task.claims and not all(isinstance(k, str) for k in task.claims):
        raise DecodeError("a task with malformed claims")
    task.headers = _pairs(task.headers) if task.headers else ()
    return task


def unpack_path(data: bytes) -> dict[str, str]:
    """Read the path parameters of a dead letter; what is none is left out."""
    try:
        path = msgpack.unpackb(data, max_ext_len=0, strict_map_key=True)
    except Exception:  # as below
        return {}
    return {name: str(value) for name, value in path.items()} if isinstance(path, dict) else {}


def unpack_beginning(data: bytes) -> tuple[Headers, bytes]:
    """Read headers and the beginning of a body, as a dead letter has them that was cut; nothing where they are none."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1, max_ext_len=0)
    unpacker.feed(data)
    try:
        headers = _pairs(unpacker.unpack())
        at = unpacker.tell()
    except Exception:  # as below, and what ends too early
        return (), b""
    length = _BIN_LENGTHS.get(data[at : at + 1], 0)
    return headers, data[at + 1 + length :][: int.from_bytes(data[at + 1 : at + 1 + length])]


def inbox_of(blob: bytes) -> str:
    """Return where to answer a task whose body cannot be read; '' when that cannot be read either."""
    header = _header(blob)
    return header[2] if len(header) == len(_HEADER_FIELDS) and isinstance(header[2], str) else ""


def _header(blob: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(blob) or 1)
    unpacker.feed(blob[_DEADLINE_DIGITS:])
    try:
        header = unpacker.unpack()
    except Exception:  # whatever msgpack makes of garbage
        return []
    return header if isinstance(header, list) else []


def pack_reply(reply: TaskReply) -> bytes:
    """Render a reply as one msgpack array."""
    parts = _stream_reply_of(reply) if isinstance(reply, StreamReply) else _reply_of(reply)
    return cast(bytes, msgpack.packb((VERSION, *parts)))


def unpack_reply(data: bytes) -> TaskReply:
    """Read a worker's reply, or the short one of a script; raises `DecodeError`, `UnsupportedVersion`."""
    parts = _unpack_one(data)
    _check_version(parts)
    types = _types(parts)
    if types == _SHORT_REPLY and parts[2] in ("expired", "lost", "dropped", "kept", "again"):
        return TaskReply(parts[1], TaskOutcome(parts[2]))
    if types not in _REPLIES or parts[2] not in ("done", "failed", "expired"):
        return _unpack_stream_reply(parts, types)
    _, task_id, outcome, status, headers, body, wait_ms, run_ms = parts
    if outcome == "done" and not 200 <= status <= 599:
        raise DecodeError("a reply with a malformed status")
    try:
        checked = _without_framing(headers)
    except TypeError as error:  # a map among them cannot be looked up
        raise DecodeError("an envelope with malformed headers") from error
    wait_ms, run_ms = max(0, min(wait_ms, MOST_MS)), max(0, min(run_ms, MOST_MS))
    return TaskReply(task_id, _OUTCOMES[outcome], status, checked, body, wait_ms, run_ms)


def _unpack_stream_reply(parts: Sequence[Any], types: tuple[type, ...]) -> StreamReply:
    if types not in _STREAM_REPLIES or parts[2] not in ("chunk", "done", "failed", "expired"):
        raise DecodeError("a malformed reply")
    _, task_id, outcome, status, headers, body, wait_ms, run_ms, number, run = parts
    brings_head = number == 1 and outcome in ("chunk", "done")
    if number < 1 or not (200 <= status <= 599 or (status == 0 and not brings_head)):
        raise DecodeError("a part of a stream with a malformed number or status")
    try:
        checked = _without_framing(headers)
    except TypeError as error:
        raise DecodeError("an envelope with malformed headers") from error
    wait_ms, run_ms = max(0, min(wait_ms, MOST_MS)), max(0, min(run_ms, MOST_MS))
    return StreamReply(task_id, _OUTCOMES[outcome], status, checked, body, wait_ms, run_ms, number, run)


def _types(parts: Iterable[Any]) -> tuple[type, ...]:
    return tuple(map(type, parts))


def _check_version(parts: Sequence[Any]) -> None:
    if not parts or type(parts[0]) is not int:
        raise DecodeError("an envelope without a version")
    if parts[0] != VERSION:
        raise UnsupportedVersion(parts[0])


def _pairs(headers: Sequence[Any]) -> Headers:
    pairs = tuple(tuple(pair) for pair in headers if type(pair) in (list, tuple))
    if len(pairs) != len(headers) or not all(_types(pair) == (bytes, bytes) for pair in pairs):
        raise DecodeError("an envelope with malformed headers")
    return pairs


@functools.lru_cache(maxsize=256)
def _without_framing(parts: tuple[Any, ...]) -> Headers:
    """Return the headers of a reply; what could break the framing of HTTP is garbage."""
    headers = _pairs(parts)
    if any(name in RESERVED_HEADERS for name, _ in headers):
        raise DecodeError("a reply with headers of the server's own")
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) for name, value in headers):
        raise DecodeError("a reply with malformed headers")
    return headers


def _unpack_one(data: bytes) -> tuple[Any, ...]:
    """Read what is one array, with tuples for lists: a fifth of the time that an `Unpacker` takes to be made."""
    try:
        parts = msgpack.unpackb(data, max_ext_len=0, strict_map_key=True, use_list=False)
    except Exception as error:  # as below
        raise DecodeError("an envelope that is not msgpack") from error
    if type(parts) is not tuple:
        raise DecodeError("an envelope that is no array")
    return parts


def _unpack_two(data: bytes) -> list[list[Any]]:
    """Read what is two arrays on end, as one array of the two: `unpackb` reads one value, and an `Unpacker` is slow."""
    try:
        parts = msgpack.unpackb(_ARRAY_OF_TWO + data, max_ext_len=0, strict_map_key=True)
    except Exception as error:  # msgpack raises ValueError, its own kinds, UnicodeDecodeError, RecursionError
        raise DecodeError("an envelope that is not two msgpack values") from error
    if _types(parts) != (list, list):
        raise DecodeError("an envelope that is not two arrays")
    return cast(list[list[Any]], parts)

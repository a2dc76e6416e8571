"""The two envelopes that travel through Redis, and their only codec.

A task goes from gateway to worker, a reply back. Pure: bytes in, dataclasses
out, no I/O. Whatever Redis returns is hostile until `unpack_*` has checked it;
anything else raises `Garbled`, or `Foreign` for another version's envelope.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import msgpack

from shared.errors import Foreign, Garbled

VERSION = 2
"""Of both envelopes; the scripts write it too (`ending.lua`)."""
_DEADLINE_DIGITS = 13
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, and values, as HTTP sends them; a name may come twice."""
_HEADER_FIELDS = 8


class Outcome(StrEnum):
    """How an admitted task ended."""

    DONE = "done"
    """The handler's own answer: its status, its body."""
    FAILED = "failed"
    """The handler raised, or its result could not be sent."""
    EXPIRED = "expired"
    """Nobody answered by the deadline."""
    LOST = "lost"
    """Its worker died, and it may not be started again."""


@dataclass(frozen=True, slots=True)
class Task:
    """One admitted request. What the scripts read stands first."""

    deadline_ms: int
    route: str
    lane: str
    inbox: str
    attempts: int
    flow: str
    weight: int
    budget_ms: int
    request_id: str
    path: dict[str, str] = field(default_factory=dict)
    """Path parameters as they came."""
    query: str = ""
    """The raw query string."""
    headers: Headers = ()
    """Those that the handler declares, and its body's type."""
    body: bytes = b""
    caller: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskReply:
    """One answer on its way back; `body` is final, the gateway does not look into it."""

    task_id: str
    outcome: Outcome
    status: int = 0
    headers: Headers = ()
    body: bytes = b""
    wait_ms: int = 0
    run_ms: int = 0


def pack_task(task: Task) -> bytes:
    """Render a task: 13 digits deadline, msgpack header for the scripts, msgpack body for the worker."""
    no_running_limit = 0
    header = [
        task.route,
        task.lane,
        task.inbox,
        task.attempts,
        task.flow,
        task.weight,
        no_running_limit,
        task.budget_ms,
    ]
    rest = [
        VERSION,
        task.request_id,
        task.path,
        task.query,
        task.headers,
        task.body,
        task.caller,
        task.claims,
    ]
    return b"%013d" % task.deadline_ms + cast(bytes, msgpack.packb(header)) + cast(bytes, msgpack.packb(rest))


def unpack_task(blob: bytes) -> Task:
    """Read what `pack_task` wrote; raises `Garbled`, `Foreign`."""
    digits = blob[:_DEADLINE_DIGITS]
    if len(digits) < _DEADLINE_DIGITS or not digits.isdigit():
        raise Garbled("a task without a deadline")
    header, rest = _unpack_all(blob[_DEADLINE_DIGITS:], 2)
    match header:
        case [str(route), str(lane), str(inbox), int(attempts), str(flow), int(weight), int(), int(budget_ms)]:
            pass
        case _:
            raise Garbled("a task with a strange header")
    return Task(int(digits), route, lane, inbox, attempts, flow, weight, budget_ms, *_request(rest))


def _request(rest: list[Any]) -> tuple[str, dict[str, str], str, Headers, bytes, str | None, dict[str, Any]]:
    match rest:
        case [int(version), *_] if version != VERSION:
            raise Foreign(version)
        case [
            int(),
            str(request_id),
            dict(path),
            str(query),
            list(headers),
            bytes(body),
            None | str() as caller,
            dict(claims),
        ]:
            if not all(isinstance(k, str) and isinstance(v, str) for k, v in path.items()):
                raise Garbled("a task with strange path parameters")
            if not all(isinstance(k, str) for k in claims):
                raise Garbled("a task with strange claims")
            return request_id, path, query, _pairs(headers), body, caller, claims
    raise Garbled("a task with a strange body")


def inbox_of(blob: bytes) -> str:
    """Return where to answer a task whose body cannot be read; '' when that cannot be read either."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(blob) or 1)
    unpacker.feed(blob[_DEADLINE_DIGITS:])
    try:
        header = unpacker.unpack()
    except Exception:  # whatever msgpack makes of garbage
        return ""
    inbox = header[2] if isinstance(header, list) and len(header) == _HEADER_FIELDS else ""
    return inbox if isinstance(inbox, str) else ""


def pack_reply(reply: TaskReply) -> bytes:
    """Render a reply as one msgpack array."""
    return cast(
        bytes,
        msgpack.packb(
            [
                VERSION,
                reply.task_id,
                reply.outcome.value,
                reply.status,
                reply.headers,
                reply.body,
                reply.wait_ms,
                reply.run_ms,
            ]
        ),
    )


def unpack_reply(data: bytes) -> TaskReply:
    """Read a worker's reply, or the short one of a script; raises `Garbled`, `Foreign`."""
    (parts,) = _unpack_all(data, 1)
    match parts:
        case [int(version), *_] if version != VERSION:
            raise Foreign(version)
        case [int(), str(task_id), ("expired" | "lost") as outcome]:
            return TaskReply(task_id, Outcome(outcome))
        case [
            int(),
            str(task_id),
            ("done" | "failed" | "expired") as outcome,
            int(status),
            list(headers),
            bytes(body),
            int(wait_ms),
            int(run_ms),
        ]:
            if outcome == "done" and not 200 <= status <= 599:
                raise Garbled("a reply with a strange status")
            return TaskReply(task_id, Outcome(outcome), status, _sendable(_pairs(headers)), body, wait_ms, run_ms)
    raise Garbled("a reply of a strange form")


def _pairs(headers: list[Any]) -> Headers:
    match headers:
        case []:
            return ()
        case [[bytes(name), bytes(value)]]:  # nearly always
            return ((name, value),)
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(part, bytes) for part in p) for p in headers):
        raise Garbled("an envelope with strange headers")
    return tuple((name, value) for name, value in headers)


def _sendable(headers: Headers) -> Headers:
    """Return the headers of a reply; what could break the framing of HTTP is garbage."""
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) for name, value in headers):
        raise Garbled("a reply with strange headers")
    return headers


def _unpack_all(data: bytes, count: int) -> list[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1, max_ext_len=0, strict_map_key=True)
    unpacker.feed(data)
    try:
        parts = list(unpacker)
        complete = unpacker.tell() == len(data)
    except Exception as error:  # msgpack raises ValueError, its own kinds, UnicodeDecodeError, RecursionError
        raise Garbled("an envelope that is not msgpack") from error
    if len(parts) != count or not complete or not all(isinstance(part, list) for part in parts):
        raise Garbled(f"an envelope of {len(parts)} parts")
    return parts

"""The two envelopes that travel through Redis, and their only codec.

A task goes from gateway to worker, a reply back. Pure: bytes in, dataclasses
out, no I/O. Whatever Redis returns is hostile until `unpack_*` has checked it;
anything else raises `Garbled`, or `Foreign` for another version's envelope.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import msgpack

from shared.errors import Foreign, Garbled

VERSION = 1
_DEADLINE_DIGITS = 13
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
    content_type: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer on its way back; `body` is final, the gateway does not look into it."""

    task_id: str
    outcome: Outcome
    status: int = 0
    content_type: str | None = None
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
    rest = [VERSION, task.request_id, task.path, task.query, task.content_type, task.body]
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
    match rest:
        case [int(version), *_] if version != VERSION:
            raise Foreign(version)
        case [int(), str(request_id), dict(path), str(query), None | str() as content_type, bytes(body)]:
            if not all(isinstance(k, str) and isinstance(v, str) for k, v in path.items()):
                raise Garbled("a task with strange path parameters")
        case _:
            raise Garbled("a task with a strange body")
    return Task(
        int(digits), route, lane, inbox, attempts, flow, weight, budget_ms, request_id, path, query, content_type, body
    )


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


def pack_reply(reply: Reply) -> bytes:
    """Render a reply as one msgpack array."""
    return cast(
        bytes,
        msgpack.packb(
            [
                VERSION,
                reply.task_id,
                reply.outcome.value,
                reply.status,
                reply.content_type,
                reply.body,
                reply.wait_ms,
                reply.run_ms,
            ]
        ),
    )


def unpack_reply(data: bytes) -> Reply:
    """Read a worker's reply, or the short one of a script; raises `Garbled`, `Foreign`."""
    (parts,) = _unpack_all(data, 1)
    match parts:
        case [int(version), *_] if version != VERSION:
            raise Foreign(version)
        case [int(), str(task_id), ("expired" | "lost") as outcome]:
            return Reply(task_id, Outcome(outcome))
        case [
            int(),
            str(task_id),
            ("done" | "failed" | "expired") as outcome,
            int(status),
            None | str() as content_type,
            bytes(body),
            int(wait_ms),
            int(run_ms),
        ]:
            if outcome == "done" and not 200 <= status <= 599:
                raise Garbled("a reply with a strange status")
            return Reply(task_id, Outcome(outcome), status, content_type, body, wait_ms, run_ms)
    raise Garbled("a reply of a strange form")


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

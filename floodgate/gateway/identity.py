"""Who asks: the user's `identify` with its answer checked, and remembered for plain routes.

A caller that cannot travel would stop the one sender of admissions, so it fails
the one request here. Must not know the queue.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import HTTPConnection

from floodgate.declare.context import Caller
from floodgate.gateway.middleware import SCOPE_KEY, RequestRecord

T = TypeVar("T")
Identify = Callable[[Request], Awaitable[Caller | None]]

_KEY = "floodgate_asked"
_INTEGERS = range(-(2**63), 2**64)
_MOST_DEPTH = 16


@dataclass(slots=True)
class _Asked:
    done: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Identity:
    """Stands in the place of `identify`; raises `TypeError` for a caller that cannot travel."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def __call__(self, request: Request) -> Caller | None:
        caller = await self._identify(request)
        if caller is not None and not (isinstance(caller, Caller) and _is_sound(caller)):
            raise TypeError("identify returns a Caller: its id is text, its claims are JSON values under text keys")
        return caller


async def caller_of(request: HTTPConnection) -> Caller | None:
    """Return who asks, found out once per request; in a plain route also as `Depends(caller_of)`.

    Raises what `identify` raises. In a WebSocket route `identify` is given the WebSocket.
    """
    record = record_for(request)
    asked: _Asked = request.scope.setdefault(_KEY, _Asked())
    if not asked.done:
        async with asked.lock:  # several calls of one route may be the first
            if not asked.done:
                record.caller = await request.app.identity(request)
                asked.done = True
    return record.caller


def record_for(request: HTTPConnection) -> RequestRecord:
    """Return the record of a request; a WebSocket, which has no line in the log, gets an id here."""
    record: RequestRecord = request.scope.setdefault(SCOPE_KEY, RequestRecord(secrets.token_hex(8)))
    return record


class OutOfTime(Exception):
    """Raised by `within` at its limit; a `TimeoutError` is of what was awaited."""


async def within(seconds: float, asked: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine under a time limit that is set only if it waits for something: most look up a key and are done.

    Setting and cancelling the timer takes 5 µs, which is more than such a look. Raises `OutOfTime`.
    """
    try:
        pending = asked.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await _rest(asked, pending)
    except TimeoutError:
        if limit.expired():
            raise OutOfTime from None
        raise


@types.coroutine
def _rest(begun: Coroutine[Any, Any, T], pending: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has just yielded `pending`, as `await` would have."""
    while True:
        try:
            sent = yield pending
        except BaseException as error:
            step = functools.partial(begun.throw, error)
        else:
            step = functools.partial(begun.send, sent)
        try:
            pending = step()
        except StopIteration as ended:
            result: T = ended.value
            return result
        finally:
            del step  # it holds what was thrown, whose traceback holds this frame and all above, and so the request


def _is_sound(caller: Caller) -> bool:
    return isinstance(caller.id, str) and isinstance(caller.claims, Mapping) and _travels([caller.id, caller.claims])


def _travels(value: Any, depth: int = 0) -> bool:
    match value:
        case None | bool() | float():
            return True
        case int():
            return value in _INTEGERS
        case str():
            return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
        case list() | tuple():
            return depth < _MOST_DEPTH and all(_travels(item, depth + 1) for item in value)
        case Mapping():
            return depth < _MOST_DEPTH and all(
                isinstance(key, str) and _travels(key) and _travels(item, depth + 1) for key, item in value.items()
            )
    return False

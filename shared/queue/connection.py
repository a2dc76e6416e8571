"""Clients made from Settings, and the one seam where redis errors become ours.

Owns how a script call is sent: within a time limit, and never repeated, save
after NOSCRIPT, when the server did nothing. Must not know what the calls mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.errors import Full, Unavailable
from shared.queue.scripts.calls import Call
from shared.settings import Settings

T = TypeVar("T")
Client = redis.Redis
Pool = redis.ConnectionPool

CALL_S = 2.0
"""What a script call outside of the hot loops may take."""

CONNECT_S = 2.0
"""Until a connection stands: a live server takes a millisecond, a lost packet one second."""


def connect(settings: Settings, *, max_connections: int = 64) -> redis.Redis:
    """Return a client of `settings.redis`; it opens connections when they are needed.

    It never retries by itself: a script that is sent twice runs twice. Close it
    with `aclose`.
    """
    return redis.Redis.from_url(
        settings.redis,
        protocol=2,
        decode_responses=False,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_S,
        socket_timeout=None,
        # redis-py refuses the option for a unix socket, which needs none.
        **({} if settings.redis.startswith("unix:") else {"socket_keepalive": True}),
        health_check_interval=0,
        max_connections=max_connections,
    )


async def run(client: redis.Redis, call: Call[T], timeout_s: float = CALL_S) -> T:
    """Run a script and return its reply, read.

    Raises `Unavailable` when Redis does not answer in `timeout_s` or is in no
    state to (whether the script ran is then unknown), `Full` when it has no memory
    left, `Garbled` when the reply is none of the script's.
    """
    with translated():
        async with asyncio.timeout(timeout_s):
            return call.read(await _evaluate(client, call))


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors for those of redis and of the network; no text of ours holds an address."""
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise Full("Redis has no memory left") from error
    except exceptions.ResponseError as error:
        if str(error).startswith("OOM"):
            raise Full("Redis has no memory left") from error
        raise Unavailable(f"Redis refused: {str(error)[:200]}") from error
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis does not answer ({type(error).__name__})") from error


async def _evaluate(client: redis.Redis, call: Call[Any]) -> object:
    try:
        return await _execute(client, call)
    except exceptions.NoScriptError:
        await cast(Awaitable[object], client.script_load(call.script.text))
        return await _execute(client, call)


async def _execute(client: redis.Redis, call: Call[Any]) -> object:
    return await cast(Awaitable[object], client.execute_command(*call.evalsha))  # type: ignore[no-untyped-call, unused-ignore]

"""Clients made from Settings, and the one seam where redis errors become ours.

Owns how a script call is sent: within a time limit, and never repeated, save
after NOSCRIPT, when the server did nothing; and which pooled connections may be
used again. Must not know what the calls mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from floodgate.broker.commands import Call
from floodgate.broker.sentinel import SentinelPool, arguments_of
from floodgate.errors import StoreFull, TimedOut, Unavailable
from floodgate.operations.redis_url import is_sentinel
from floodgate.operations.settings import Settings

T = TypeVar("T")
Client = redis.Redis
Pool = redis.ConnectionPool

CALL_S = 2.0
"""What a script call outside of the hot loops may take."""

CONNECT_S = 2.0
"""Until a connection stands: a live server takes a millisecond, a lost packet one second."""

_NOT_HERE = ("MASTERDOWN", "READONLY", "LOADING", "NOREPLICAS", "CLUSTERDOWN", "MOVED", "UNBLOCKED")
"""How the errors of a server begin that is not the primary, or not yet, or no more; another may be by now."""
_NOT_HERE_KINDS = (
    exceptions.ReadOnlyError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,  # and MasterDownError
    exceptions.MovedError,
)
"""Those of which redis-py makes classes; their texts have lost the first word."""

_CLOSED_TRANSPORT = "unable to perform operation on"
"""How uvloop begins the RuntimeError for a write on a connection that was reset."""


class CheckedPool(Pool):
    """A pool that never hands out an idle connection that was reset: what is written to it would be lost."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.wrong_type = asyncio.Event()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect it, anew where it does not stand any more."""
        if is_closed(connection):
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)  # type: ignore[no-untyped-call, unused-ignore]


class CheckedSentinelPool(CheckedPool, SentinelPool):
    """The same where Sentinels say who the primary is."""


def is_closed(connection: AbstractConnection) -> bool:
    """Tell whether the transport is closed, by this side or by a reset; without asking the system.

    redis-py's own `can_read` sees an orderly close, but no reset, and no public method
    of it shows the transport. `test_resets.py` notices if an upgrade renames the attribute.
    """
    writer: asyncio.StreamWriter | None = connection._writer
    return writer is None or writer.is_closing()


def connect(settings: Settings, *, max_connections: int = 64) -> redis.Redis:
    """Return a client of `settings.redis`; it opens connections when they are needed.

    It never retries by itself: a script that is sent twice runs twice. Close it
    with `aclose`.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": None,
        # redis-py refuses the option for a unix socket, which needs none.
        **({} if settings.redis.startswith("unix:") else {"socket_keepalive": True}),
        "health_check_interval": 0,
        "max_connections": max_connections,
    }
    pool: Pool
    if is_sentinel(settings.redis):
        name, sentinel, server = arguments_of(settings.redis)
        pool = CheckedSentinelPool(name, sentinel, **server, **options)  # type: ignore[no-untyped-call, unused-ignore]
    else:
        pool = CheckedPool.from_url(settings.redis, **options)
    return redis.Redis.from_pool(pool)


async def run(client: redis.Redis, call: Call[T], timeout_s: float = CALL_S) -> T:
    """Run a script and return its reply, read.

    Raises `Unavailable` when Redis does not answer in `timeout_s` or is in no
    state to (whether the script ran is then unknown), `StoreFull` when it has no memory
    left, `DecodeError` when the reply is none of the script's. A server that is not the
    primary loses all connections of the client, so that the next call asks the name anew.
    """
    with redis_errors():
        async with asyncio.timeout(timeout_s):
            try:
                return call.read(await _evaluate(client, call))
            except exceptions.RedisError as error:
                note_wrong_type(client.connection_pool, error)
                if is_not_here(error):
                    await _leave(client.connection_pool)
                raise


def is_not_here(error: Exception) -> bool:
    """Tell whether a server says that it is not the one to write to."""
    return isinstance(error, _NOT_HERE_KINDS) or str(error).startswith(_NOT_HERE)


def wrong_type_of(pool: Pool) -> asyncio.Event:
    """Return what is set when a command on one of the pool's connections met a key of a wrong type."""
    return cast(CheckedPool, pool).wrong_type


def note_wrong_type(pool: Pool, error: Exception) -> None:
    """Have a repair begin at once, if this is the error of a command that met a key of a wrong type."""
    if str(error).startswith("WRONGTYPE"):
        wrong_type_of(pool).set()


async def _leave(pool: Pool) -> None:
    """Close what is idle, and have closed what is in use when it comes back."""
    await pool.update_active_connections_for_reconnect()
    idle = [pool.get_available_connection() for _ in range(pool.get_connection_count()[0][0])]
    for connection in idle:  # taken out first: nobody can be given one that is about to be closed
        await connection.disconnect(nowait=True)
        await pool.release(connection)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raise our errors for those of redis and of the network; no text of ours holds an address."""
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise StoreFull("Redis has no memory left") from error
    except exceptions.ResponseError as error:
        if str(error).startswith("OOM"):
            raise StoreFull("Redis has no memory left") from error
        raise Unavailable(f"Redis refused: {str(error)[:200]}") from error
    except TimeoutError as error:
        raise TimedOut("Redis does not answer in time") from error
    except (exceptions.RedisError, OSError) as error:
        raise Unavailable(f"Redis does not answer ({type(error).__name__})") from error
    except RuntimeError as error:
        if not str(error).startswith(_CLOSED_TRANSPORT):
            raise
        raise Unavailable("Redis does not answer (the connection was reset)") from error


async def _evaluate(client: redis.Redis, call: Call[Any]) -> object:
    try:
        return await _execute(client, call)
    except exceptions.NoScriptError:
        await cast(Awaitable[object], client.script_load(call.script.text))
        return await _execute(client, call)


async def _execute(client: redis.Redis, call: Call[Any]) -> object:
    return await cast(Awaitable[object], client.execute_command(*call.evalsha))  # type: ignore[no-untyped-call, unused-ignore]

"""A pool whose connections ask the Sentinels for the primary, each time that they connect."""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from floodgate.operations.redis_url import sentinel_url

SENTINEL_S = 0.5
"""Until the next Sentinel is asked: a live one takes a millisecond, and three share the two seconds of a connect."""


class SentinelPool(SentinelConnectionPool):
    """Closes its clients of the Sentinels with its own connections."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections; those to the Sentinels, too, unless only what is idle is meant."""
        await super().disconnect(inuse_connections)  # type: ignore[no-untyped-call, unused-ignore]
        if inuse_connections:
            await self.sentinel_manager.aclose()


def arguments_of(url: str) -> tuple[str, Sentinel, dict[str, Any]]:
    """Return the name of the primary, the Sentinels that know it, and what its connections are made with."""
    parts = sentinel_url(url)
    server = dict(parse_url(parts.server_url))
    uses_tls = server.pop("connection_class", None) is not None
    server = {name: value for name, value in server.items() if name not in ("host", "port")} | {"ssl": uses_tls}
    tls = {name: value for name, value in server.items() if name.startswith("ssl")} if uses_tls else {}
    sentinel = Sentinel(
        parts.sentinels,
        sentinel_kwargs={
            "username": parts.username,
            "password": parts.password,
            "socket_connect_timeout": SENTINEL_S,
            "socket_timeout": SENTINEL_S,
            "retry": Retry(NoBackoff(), 0),
            **tls,
        },
    )
    return parts.name, sentinel, server

"""Which lane a route's tasks go to: the rolling-deploy rule of the protocol.

The own release's pool where a worker serves it, else any pool whose digest of
that route equals the own. Looked up once a second, never per request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

from floodgate.broker.connection import redis_errors
from floodgate.broker.decoding import number, read_releases
from floodgate.broker.keys import lane_of
from floodgate.declare.registry import OTHER_PROJECT, Handler
from floodgate.gateway.context import GatewayContext
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.gateway")


class WorkerDirectory:
    """Knows which lanes are served, as of the last `refresh`."""

    def __init__(self, context: GatewayContext) -> None:
        self._client = context.client
        self._keys = context.keys
        self._clock = context.clock
        self._registry = context.registry
        self._registration_s = context.settings.registration_ms / 1000
        self._interrupted_s = -math.inf
        self._grace = False
        self._routes = {handler.route.encode() for handler in context.registry.handlers}
        self.names: list[str] = []
        """All lanes there were at the last refresh, of every release."""
        self._others: dict[str, dict[str, str]] = {}
        self._served: set[str] = set()
        self.disagreed: set[tuple[str, str]] = set()
        """Contract and label of each route that its workers see differently."""
        self._other_projects: set[str] = set()

    def lane(self, handler: Handler, level: int) -> str:
        """Return the lane for a new task; if nobody serves the route, the own, where `admit` refuses it."""
        own = lane_of(self._registry.release_digest, handler.kind, level)
        if own in self._served:
            return own
        for release, digests in self._others.items():
            other = lane_of(release, handler.kind, level)
            if digests.get(handler.route) == handler.signature_digest and other in self._served:
                return other
        return own

    def serves(self, lane: str) -> bool:
        return lane in self._served

    def interrupted(self) -> None:
        """Note that workers, too, may have been unable to renew."""
        self._interrupted_s = time.monotonic()

    @property
    def strands(self) -> bool:
        """Tell whether a lane without workers has lost them: within a registration of an interruption it may not."""
        return not self._grace and time.monotonic() - self._interrupted_s >= self._registration_s

    async def refresh(self) -> bool:
        """Look once; return whether this process's declaration is still there. Raises `Unavailable`."""
        first = self._registry.handlers[0].route if self._routes else ""
        with redis_errors():
            async with asyncio.timeout(2), self._client.pipeline(transaction=False) as pipe:
                pipe.time()  # the first refresh may come before any script has told the time
                pipe.hgetall(self._keys.releases())
                pipe.smembers(self._keys.lanes())
                pipe.smembers(self._keys.routes())
                pipe.hexists(self._keys.statistics(first), "limit")
                at, releases, lanes, reaped, declared = await pipe.execute()
                self._clock.observe(_ms(at))
                names = sorted(lane.decode("ascii", "replace") for lane in lanes)
                pipe.time()
                pipe.hmget(self._keys.reap(), "last", "registration_grace_until", "gap")
                for lane in names:
                    pipe.zrevrange(self._keys.serving(lane), 0, 0, withscores=True)
                at, reap, *tops = await pipe.execute()
        self.names = names
        now_ms = _ms(at)
        self._grace = _is_interrupted(now_ms, *map(number, reap))
        self._served = {lane for lane, top in zip(names, tops, strict=True) if top and top[0][1] > now_ms}
        live = {lane.partition(":")[0] for lane in self._served} - {self._registry.release_digest}
        self._others = {release: digests for release, digests in read_releases(releases).items() if release in live}
        self._say_disagreements()
        return not self._routes or (bool(declared) and self._routes <= reaped)

    def _say_disagreements(self) -> None:
        found = self._registry.disagreements(self._others)
        for release, label in sorted(found - self.disagreed):
            log.warning(
                "workers disagree about a route: none of its tasks goes to them",
                extra=fields(route=label, release=release),
            )
        self.disagreed = found
        other_projects = self._registry.other_projects(self._others)
        for release in sorted(other_projects - self._other_projects):
            log.error(OTHER_PROJECT, extra=fields(release=release))
        self._other_projects = other_projects


def _ms(at: tuple[Any, Any]) -> int:
    seconds, micros = at
    return int(seconds) * 1000 + int(micros) // 1000


def _is_interrupted(now_ms: int, last_ms: int, grace_ms: int, gap_ms: int) -> bool:
    """Tell whether nobody has reaped for so long that registrations may have ended unrenewed, or did of late."""
    return now_ms < grace_ms or abs(now_ms - last_ms) > 0.6 * gap_ms

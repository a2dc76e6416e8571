"""Looks at every connect whether Redis evicts keys when it is full, which loses tasks and answers that were promised.

Asks by INFO, since managed services refuse CONFIG. Owns what follows for a process's
readiness; must not know how that is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from floodgate.broker.pipeline import Pipeline
from floodgate.operations.logs import fields

CALL_S = 2.0
SAFE = "noeviction"


class Eviction:
    """Knows for one process whether its server evicts keys. `tell` is given that at every look."""

    def __init__(self, is_allowed: bool, tell: Callable[[bool], None], log: logging.Logger) -> None:
        self._is_allowed = is_allowed
        self._tell = tell
        self._log = log
        self._evicts = False
        self._was_ready = False
        self._said_unknown = False

    async def look(self, pipeline: Pipeline) -> None:
        """Look at the server of a connection; raises `Unavailable`."""
        (reply,) = await pipeline.execute([("INFO", "memory")], CALL_S)
        figures = _figures(reply)
        if "maxmemory_policy" not in figures:
            if not self._said_unknown:
                self._said_unknown = True
                self._log.warning(
                    "INFO says nothing of memory here: see to it that Redis has the policy noeviction",
                    extra=fields(reply=str(reply)[:200]),
                )
            return
        policy = figures["maxmemory_policy"]
        self._evicts = policy != SAFE and figures.get("maxmemory", "0") != "0"
        self._tell(self._evicts)
        if self._evicts:
            self._log.error(
                "Redis throws keys away when it is full, and answers with them: set maxmemory-policy to noeviction, "
                "or FLOODGATE_ALLOW_EVICTION=1 to serve all the same",
                extra=fields(policy=policy),
            )

    def lets(self, ready: bool) -> bool:
        """Return whether a process that is ready otherwise may say so; one that has been stays ready."""
        if not ready or (self._evicts and not self._is_allowed and not self._was_ready):
            return False
        self._was_ready = True
        return True


def _figures(reply: object) -> dict[str, str]:
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else ()
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}

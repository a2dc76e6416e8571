"""Reads what a request asks for: how much time it has, its class and tenant, whether its client waits.

All of it comes from the head, so it is known before the body is read. Owns the
header `Prefer` (RFC 7240). Must not know Redis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from floodgate.declare.context import Caller
from floodgate.declare.head import SHARES, UNDECLARED_SHARE, UNDECLARED_WEIGHT, WEIGHTS, Head
from floodgate.declare.registry import Handler

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request asks of the admission, known from its head."""

    budget_ms: int
    """Until nobody waits any more."""
    has_full_budget: bool = True
    """It has all the time that its route gives; only the refusal of such a request says something of others."""
    weight: int = UNDECLARED_WEIGHT
    share: int = UNDECLARED_SHARE
    tenant: str = ""
    async_response: bool = False
    """`Prefer: respond-async`: nobody waits on the connection for longer than `max_wait_s`."""
    max_wait_s: float = 0
    record: str = ""
    """What is known of its `Idempotency-Key` stands in Redis under this name; without a key ''."""

    @property
    def skips_cache(self) -> bool:
        """Tell whether it is never refused from memory: a class that is let in where others are refused."""
        return self.share == UNDECLARED_SHARE and self.weight != UNDECLARED_WEIGHT


class OptionsReader:
    """Reads the options of one handler's requests; most routes ask for nothing, and then there is one answer."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        asked = handler.admission
        self._usual = None if callable(asked.priority) or callable(asked.tenant) else self._read("", None)

    def options(self, request: HTTPConnection, caller: Caller | None, honor_prefer: bool = True) -> RequestOptions:
        """Return the options; raises what the user's functions raise, `ValueError` for what they return."""
        given = [value for name, value in request.scope["headers"] if name == b"prefer"] if honor_prefer else ()
        if not given and self._usual is not None:
            return self._usual
        prefer = b",".join(given).decode("latin-1")
        return self._read(prefer, _head(request, caller) if self._usual is None else None)

    def _read(self, prefer: str, head: Head | None) -> RequestOptions:
        """Return the options of a request; `head` is for the user's functions, None where there are none."""
        asked = self._handler.admission
        named: Any = asked.priority(head) if head is not None and callable(asked.priority) else asked.priority
        tenant: Any = asked.tenant(head) if head is not None and callable(asked.tenant) else asked.tenant
        if named is not None and named not in WEIGHTS:
            raise ValueError(f"the priority function of {self._handler.label} returned {named!r}")
        if tenant and not isinstance(tenant, str):
            raise ValueError(f"the tenant function of {self._handler.label} returned {tenant!r}, not a text")
        weight, share = (UNDECLARED_WEIGHT, UNDECLARED_SHARE) if named is None else (WEIGHTS[named], SHARES[named])
        return self._with_budget(prefer, weight, share, tenant or "")

    def _with_budget(self, prefer: str, weight: int, share: int, tenant: str) -> RequestOptions:
        async_s, timeout_s = self._handler.admission.async_timeout_s, self._handler.timeout_s
        found = _WAIT.search(prefer)
        wait_s = float(found[1]) if found else 0.0
        wants = [token.partition(";")[0].strip().lower() for token in prefer.split(",")]
        if async_s is not None and "respond-async" in wants:
            max_wait_s = min(wait_s, timeout_s)
            return RequestOptions(round(async_s * 1000), True, weight, share, tenant, True, max_wait_s)
        if 0 < wait_s < timeout_s:
            return RequestOptions(round(wait_s * 1000), False, weight, share, tenant)
        return RequestOptions(round(timeout_s * 1000), True, weight, share, tenant)


def _head(request: HTTPConnection, caller: Caller | None) -> Head:
    return Head(
        method=request.scope.get("method", "GET"),  # a WebSocket has none
        path=request.url.path,
        path_params={name: str(value) for name, value in request.path_params.items()},
        query=request.query_params,
        headers=request.headers,
        caller=caller,
    )

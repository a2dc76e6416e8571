"""Reads what a request asks for: how much time it has, its class and tenant, whether its client waits.

All of it comes from the head, so it is known before the body is read. Owns the
header `Prefer` (RFC 7240). Must not know Redis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
        self._admission = handler.admission
        self._reads_head = callable(self._admission.priority) or callable(self._admission.tenant)
        self._usual = self._read(None, None, "")

    def options(self, request: HTTPConnection, caller: Caller | None, honor_prefer: bool = True) -> RequestOptions:
        """Return the options; raises what the user's functions raise, `ValueError` for what they return."""
        prefer = ",".join(request.headers.getlist("prefer")) if honor_prefer and _has_prefer(request) else ""
        if not prefer and not self._reads_head:
            return self._usual
        return self._read(request, caller, prefer)

    def _read(self, request: HTTPConnection | None, caller: Caller | None, prefer: str) -> RequestOptions:
        weight, share, tenant = UNDECLARED_WEIGHT, UNDECLARED_SHARE, ""
        head = _head(request, caller) if request is not None and self._reads_head else None
        priority = self._admission.priority
        named = priority if not callable(priority) else "default" if head is None else priority(head)
        if named is not None:
            if named not in WEIGHTS:
                raise ValueError(f"the priority function of {self._handler.label} returned {named!r}")
            weight, share = WEIGHTS[named], SHARES[named]
        owner = self._admission.tenant
        if callable(owner):
            owner = None if head is None else owner(head)
        if owner:
            if not isinstance(owner, str):
                raise ValueError(f"the tenant function of {self._handler.label} returned {owner!r}, not a text")
            tenant = owner
        return self._with_budget(prefer, weight, share, tenant)

    def _with_budget(self, prefer: str, weight: int, share: int, tenant: str) -> RequestOptions:
        found = _WAIT.search(prefer)
        wait_s = float(found[1]) if found else None
        wants = [token.partition(";")[0].strip().lower() for token in prefer.split(",")]
        async_s, timeout_s = self._admission.async_timeout_s, self._handler.timeout_s
        if async_s is not None and "respond-async" in wants:
            max_wait_s = min(wait_s or 0.0, timeout_s)
            return RequestOptions(round(async_s * 1000), True, weight, share, tenant, True, max_wait_s)
        if wait_s and wait_s < timeout_s:
            return RequestOptions(round(wait_s * 1000), False, weight, share, tenant)
        return RequestOptions(round(timeout_s * 1000), True, weight, share, tenant)


def _has_prefer(request: HTTPConnection) -> bool:
    return any(name == b"prefer" for name, _ in request.scope["headers"])


def _head(request: HTTPConnection, caller: Caller | None) -> Head:
    return Head(
        method=request.scope.get("method", "GET"),  # a WebSocket has none
        path=request.url.path,
        path_params={name: str(value) for name, value in request.path_params.items()},
        query=request.query_params,
        headers=request.headers,
        caller=caller,
    )

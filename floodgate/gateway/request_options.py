"""Under which terms a request asks: how much time it has, its class and tenant, whether its client waits.

All of it comes from the head, so it is known before the body is read. Owns the
header `Prefer` (RFC 7240). Must not know Redis.
"""

from __future__ import annotations

import re

from starlette.requests import HTTPConnection

from floodgate.declare.context import Caller
from floodgate.declare.head import SHARES, UNDECLARED_SHARE, UNDECLARED_WEIGHT, WEIGHTS, Head
from floodgate.declare.registry import Handler
from floodgate.gateway.outcomes import RequestOptions

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


class OptionsReader:
    """Reads the terms of one handler's requests; most routes ask for nothing, and then there is one answer."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._door = handler.admission
        self._looks = callable(self._door.priority) or callable(self._door.tenant)
        self._usual = self._terms(None, None, "")

    def options(self, request: HTTPConnection, caller: Caller | None, heed_prefer: bool = True) -> RequestOptions:
        """Return the terms; raises what the user's functions raise, `ValueError` for what they return."""
        prefer = ",".join(request.headers.getlist("prefer")) if heed_prefer and _has_prefer(request) else ""
        if not prefer and not self._looks:
            return self._usual
        return self._terms(request, caller, prefer)

    def _terms(self, request: HTTPConnection | None, caller: Caller | None, prefer: str) -> RequestOptions:
        weight, share, tenant = UNDECLARED_WEIGHT, UNDECLARED_SHARE, ""
        head = _head(request, caller) if request is not None and self._looks else None
        priority = self._door.priority
        named = priority if not callable(priority) else "default" if head is None else priority(head)
        if named is not None:
            if named not in WEIGHTS:
                raise ValueError(f"the priority function of {self._handler.label} returned {named!r}")
            weight, share = WEIGHTS[named], SHARES[named]
        owner = self._door.tenant
        if callable(owner):
            owner = None if head is None else owner(head)
        if owner:
            if not isinstance(owner, str):
                raise ValueError(f"the tenant function of {self._handler.label} returned {owner!r}, not a text")
            tenant = owner
        return self._timed(prefer, weight, share, tenant)

    def _timed(self, prefer: str, weight: int, share: int, tenant: str) -> RequestOptions:
        found = _WAIT.search(prefer)
        wait_s = float(found[1]) if found else None
        wants = [token.partition(";")[0].strip().lower() for token in prefer.split(",")]
        async_s, timeout_s = self._door.async_timeout_s, self._handler.timeout_s
        if async_s is not None and "respond-async" in wants:
            patience_s = min(wait_s or 0.0, timeout_s)
            return RequestOptions(round(async_s * 1000), True, weight, share, tenant, True, patience_s)
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

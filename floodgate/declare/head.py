"""What `priority=`, `tenant=` and `rate=` take: a request's head, the classes, a token bucket.

Owns the classes with their weights and shares; a head is known before the body is
read, so nothing here may need one. Must not know web frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from floodgate.declare.context import Caller

Priority = Literal["critical", "default", "degraded", "bulk"]

WEIGHTS: Mapping[str, int] = {"critical": 64, "default": 8, "degraded": 2, "bulk": 1}
"""Of start-time fair queueing: a class that uses less than its part is next at once, and none starves."""
SHARES: Mapping[str, int] = {"critical": 1000, "default": 950, "degraded": 800, "bulk": 600}
"""How many thousandths of a route's slots may be taken when a request of the class is admitted."""
UNDECLARED_WEIGHT, UNDECLARED_SHARE = 8, 1000
"""Of a route that declares no priority."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body; `path_params` and `query` are text as it came, `headers` in lower case."""

    method: str
    path: str
    path_params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    caller: Caller | None = None


PriorityOf = Priority | Callable[[Head], str]
TenantOf = str | Callable[[Head], str | None]


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket of one gateway process: `bucket` requests at once, refilled by `per_s` each second."""

    bucket: float
    per_s: float

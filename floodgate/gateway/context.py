"""What the parts of one gateway process are built from, as one object. Must not know the parts."""

from __future__ import annotations

from dataclasses import dataclass

from floodgate.broker.clock import RedisClock
from floodgate.broker.connection import Client
from floodgate.broker.keys import Keys
from floodgate.declare.registry import Registry
from floodgate.gateway.metrics import GatewayMetrics
from floodgate.gateway.rate_limit import RateLimiter
from floodgate.operations.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """One gateway process: its settings and handlers, its access to Redis, and what it counts and refuses by itself."""

    settings: Settings
    registry: Registry
    client: Client
    keys: Keys
    clock: RedisClock
    metrics: GatewayMetrics
    rate_limiter: RateLimiter
    process: str
    """Its name, which is its inbox's too."""

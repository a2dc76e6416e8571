"""The parts of the proof by name: what `PART=…` runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from loadtest.overload_accidents import cold, deaths, freeze, leavers
from loadtest.overload_edges import below, burst, retry
from loadtest.overload_judging import Outcome
from loadtest.overload_pool import pool
from loadtest.overload_refusals import refusals
from loadtest.overload_turns import neighbour, priorities, tenants

PARTS: Mapping[str, Callable[[Path, int], Awaitable[Outcome]]] = {
    "tenants": tenants,
    "priorities": priorities,
    "freeze": freeze,
    "cold": cold,
    "neighbour": neighbour,
    "pool": pool,
    "leavers": leavers,
    "refusals": refusals,
    "below": below,
    "burst": burst,
    "deaths": deaths,
    "retry": retry,
}

"""The parts of the proof by name: what `PART=…` runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks.overload_edges import below, burst, retry
from benchmarks.overload_fairness import neighbour, priorities, tenants
from benchmarks.overload_faults import cold, deaths, freeze, leavers
from benchmarks.overload_judging import Outcome
from benchmarks.overload_pool import pool
from benchmarks.overload_refusals import refusals

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

"""Checks what a declaration asks of the door: rate, priority, tenant, running limit, async time-out."""

from __future__ import annotations

import math

from floodgate.declare.head import WEIGHTS, Rate
from floodgate.declare.registry import Declaration


def check_admission(declaration: Declaration) -> None:
    """Raise `DeclarationError` for the first mistake."""
    door = declaration.admission
    if door.rate is not None and not (
        isinstance(door.rate, Rate)
        and _positive(door.rate.per_s)
        and _positive(door.rate.bucket)
        and door.rate.bucket >= 1
    ):
        declaration.refuse(f"rate is {door.rate!r}; write rate=Rate(bucket=100, per_s=50), a bucket of at least 1")
    if not (door.priority is None or callable(door.priority) or door.priority in WEIGHTS):
        declaration.refuse(
            f"priority is {door.priority!r}; it must be one of {', '.join(WEIGHTS)}, or a function of Head"
        )
    if not (door.tenant is None or callable(door.tenant) or (isinstance(door.tenant, str) and door.tenant)):
        declaration.refuse(
            f"tenant is {door.tenant!r}; it must be a text, or a function of Head that returns one or None"
        )
    most = door.max_running
    if most is not None and not (isinstance(most, int) and not isinstance(most, bool) and most >= 1):
        declaration.refuse(f"max_running is {most!r}; it must be a whole number, at least 1")
    if door.async_timeout_s is not None and not (_positive(door.async_timeout_s) and door.async_timeout_s <= 7000):
        declaration.refuse(f"async_timeout_s is {door.async_timeout_s!r}; it must be a number of seconds up to 7000")


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

"""Which keys of a namespace have neither an owner nor a time to live.

Owns the comparison of a server with the catalogue in `floodgate.broker.keys`. Must
not change anything on the server.
"""

from __future__ import annotations

from redis import Redis

from floodgate.broker.keys import CATALOGUE, KeyPattern, Keys
from tests.engine.snapshot import Snapshot, Stored, ids, snapshot

KINDS = {kind.name: kind for kind in CATALOGUE}
OF_TASKS = ("attempts", "waiting", "parked", "stranded", "running", "tenant_inflight", "holders")
"""Whose members are tasks that have a slot."""


def leaks(client: Redis, keys: Keys) -> list[str]:
    """Return a line per key that is not as the catalogue says."""
    return leaks_in(snapshot(client, keys))


def leaks_in(found: Snapshot) -> list[str]:
    """Return the same of what was read."""
    lines: list[str] = []
    members: dict[str, set[str]] = {name: set() for name in ("slots", "tasks", *OF_TASKS)}
    for name, stored in sorted(found.items()):
        kind = KINDS.get(name.partition(":")[0])
        if kind is None:
            lines.append(f"{name}: not in the catalogue")
        elif stored.type != kind.type:
            lines.append(f"{name}: a {stored.type}, and the catalogue says {kind.type}")
        else:
            lines += _time_to_live(name, stored, kind)
            if kind.name in members:
                members[kind.name] |= ids(found, name)
    return lines + _orphans(members) + _lost_markers(found)


def _time_to_live(name: str, stored: Stored, kind: KeyPattern) -> list[str]:
    if kind.ttl_s is None or (stored.ttl_ms is not None and stored.ttl_ms <= kind.ttl_s * 1000):
        return []
    return [f"{name}: has {'no time' if stored.ttl_ms is None else f'{stored.ttl_ms} ms'} to live"]


def _orphans(members: dict[str, set[str]]) -> list[str]:
    slots, tasks = members["slots"], members["tasks"]
    found = [f"task {id}: in tasks and not in slots" for id in sorted(tasks - slots)]
    found += [f"task {id}: in slots and not in tasks" for id in sorted(slots - tasks)]
    for kind in OF_TASKS:
        found += [f"task {id}: in {kind} and not in slots" for id in sorted(members[kind] - slots)]
    return found


def _lost_markers(found: Snapshot) -> list[str]:
    """`reap` ends a marker, so it has to know the lane."""
    walked = {item.decode() for item in found["lanes"].items} if "lanes" in found else set()
    return [
        f"{name}: of a lane that nobody walks"
        for name in sorted(found)
        if name.startswith("wake:") and name.removeprefix("wake:") not in walked
    ]

"""Which keys of a namespace have neither an owner nor a time to live.

Owns the comparison of a server with the catalogue in `shared.queue.keys`. Must
not change anything on the server.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from shared.queue.keys import CATALOGUE, Keys, Kind

KINDS = {kind.name: kind for kind in CATALOGUE}


def leaks(client: Redis, keys: Keys) -> list[str]:
    """Return a line per key that is not as the catalogue says.

    Looked at in one go: what goes on working changes keys between two commands,
    so end it first.
    """
    found: list[str] = []
    ids: dict[str, set[bytes]] = {"slots": set(), "tasks": set(), "marks": set(), "waiting": set(), "running": set()}
    for name in sorted(client.scan_iter(match=f"{keys.prefix}*", count=1000)):
        key = name.decode(errors="replace")
        kind = KINDS.get(key.removeprefix(keys.prefix).partition(":")[0])
        if kind is None:
            found.append(f"{key}: not in the catalogue")
            continue
        answer: Any = client.type(name)
        actual = answer.decode()
        if actual != kind.type:
            found.append(f"{key}: a {actual}, and the catalogue says {kind.type}")
            continue
        found += _time_to_live(client, name, kind)
        if kind.name in ids:
            ids[kind.name] |= _members(client, name, actual)
    return found + _orphans(ids)


def _time_to_live(client: Redis, name: bytes, kind: Kind) -> list[str]:
    left_s = client.ttl(name)
    if kind.ttl_s is None or 0 <= left_s <= kind.ttl_s:
        return []
    return [f"{name.decode()}: has {'no time' if left_s < 0 else f'{left_s} s'} to live"]


def _members(client: Redis, name: bytes, kind: str) -> set[bytes]:
    members: Any = client.hkeys(name) if kind == "hash" else client.zrange(name, 0, -1)
    return {member.rpartition(b"#")[2] for member in members}  # a lease ends in the id of its task


def _orphans(ids: dict[str, set[bytes]]) -> list[str]:
    found = [f"task {lost!r}: in tasks and not in slots" for lost in sorted(ids["tasks"] - ids["slots"])]
    found += [f"task {lost!r}: in slots and not in tasks" for lost in sorted(ids["slots"] - ids["tasks"])]
    for kind in ("marks", "waiting", "running"):
        found += [f"task {lost!r}: in {kind} and not in slots" for lost in sorted(ids[kind] - ids["slots"])]
    return found

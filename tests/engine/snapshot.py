"""Everything that a namespace holds, read in one go.

Owns the script that reads it. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from floodgate.broker.keys import Keys

_DUMP = """
local read = {
  zset = function(k) return redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end,
  hash = function(k) return redis.call('HGETALL', k) end,
  list = function(k) return redis.call('LRANGE', k, 0, -1) end,
  set = function(k) return redis.call('SMEMBERS', k) end,
  stream = function(k) return redis.call('XRANGE', k, '-', '+') end,
  string = function(k) return { redis.call('GET', k) } end,
}
local out, cursor = {}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1] .. '*', 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local kind = redis.call('TYPE', key).ok
    out[#out + 1] = { key, kind, redis.call('PTTL', key), read[kind](key) }
  end
until cursor == '0'
return out
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One key: its type, milliseconds to live (None: no end), and what it holds.

    Members with scores, fields with values, or elements (a stream's: the values of its entries).
    """

    type: str
    ttl_ms: int | None
    pairs: Mapping[str, str]
    items: tuple[bytes, ...] = ()


Snapshot = dict[str, Stored]
"""By the key's name without the prefix."""


def snapshot(client: Redis, keys: Keys) -> Snapshot:
    """Read all keys of the namespace, atomically."""
    dumped: Any = client.eval(_DUMP, 1, keys.prefix, keys.prefix)
    found = {}
    for key, kind, ttl_ms, content in dumped:
        name, type_ = _text(key).removeprefix(keys.prefix), _text(kind)
        left = None if ttl_ms < 0 else int(ttl_ms)
        if type_ in ("zset", "hash"):
            texts = [_text(part) for part in content]
            found[name] = Stored(type_, left, dict(zip(texts[::2], texts[1::2], strict=True)))
        elif type_ == "stream":
            found[name] = Stored(type_, left, {}, tuple(value for _, fields in content for value in fields[1::2]))
        else:
            found[name] = Stored(type_, left, {}, tuple(content))
    return found


def ids(found: Snapshot, name: str) -> set[str]:
    """Return the members or fields of a key; of leases, the tasks they are for."""
    return {member.rpartition("#")[2] for member in found[name].pairs} if name in found else set()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")

"""Who may do what in Redis: the users of the containers, and the commands and keys that the apps need.

`python -m floodgate acl FLOODGATE_NAMESPACE` prints the apps' user for a Redis of one's own. Needs the
standard library alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

USER, HEALTH = "floodgate", "health"
BEGINNING = "auth hello select client|setinfo client|setname"
OF_THE_APPS = (
    "evalsha info script|load time",
    "blpop lpop rpush llen ltrim scan",
    "del exists expire get pexpire pexpireat pexpiretime set strlen type pttl",
    "hdel hexists hget hgetall hincrby hkeys hlen hmget hrandfield hset hsetnx",
    "sadd smembers srem",
    "xadd xdel xlen xrange xread xrevrange xtrim",
    "zadd zcard zcount zdiff zmscore zpopmin zrange zrangebyscore zrem zremrangebyscore zrevrange zscore",
)
COMMANDS = frozenset(" ".join((BEGINNING, *OF_THE_APPS)).split())
"""What scripts and apps need: `tests/engine/unit/test_acl.py` finds what is missing or too much."""


def apps(namespace: str, commands: Iterable[str] = COMMANDS) -> str:
    """Return the rules of the apps' user, without a password: its namespace in every version of the format."""
    return f"~{{{namespace}:*}}:* resetchannels -@all {' '.join(f'+{command}' for command in sorted(commands))}"


def users(namespace: str, password: str, admin_password: str, before: str = "") -> str:
    """Return the file of all users. What the file `before` allowed the apps stays allowed: the old ones still run."""
    old = re.findall(rf"^user {USER} .*", before, re.MULTILINE)
    allowed = COMMANDS.union(re.findall(r"\+(\S+)", " ".join(old)))
    return (
        f"user default on #{_digest(admin_password)} ~* &* +@all\n"
        f"user {HEALTH} on nopass resetchannels -@all +ping\n"
        f"user {USER} on #{_digest(password)} {apps(namespace, allowed)}\n"
    )


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def acl(namespace: str) -> int:
    """Print the line of the apps' user; PASSWORD in it is to be replaced."""
    print(f"user {USER} on >PASSWORD {apps(namespace)}")
    return 0

"""The check that runs after every test with a namespace catches what it is for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from tests.engine.leaks import leaks

pytestmark = pytest.mark.leaves_garbage


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(redis_url)) as client:
        yield client


def test_a_whole_task_is_no_leak(client: Redis, namespace: str) -> None:
    keys = Keys(namespace)
    client.zadd(keys.slots("r"), {"r.1": 1})
    client.zadd(keys.running("r"), {"x.a.1#1#r.1": 1})
    client.hset(keys.of("tasks"), "r.1", "blob")
    client.lpush(keys.control("x"), "leave")
    client.expire(keys.control("x"), 60)
    assert leaks(client, keys) == []


def test_each_kind_of_leak_is_named(client: Redis, namespace: str) -> None:
    keys = Keys(namespace)
    client.set(f"{keys.prefix}surprise", "1")
    client.set(keys.slots("s"), "1")
    client.lpush(keys.control("x"), "leave")
    client.zadd(keys.slots("r"), {"r.1": 1})
    client.hset(keys.of("tasks"), "r.2", "blob")
    client.zadd(keys.of("waiting", "l"), {"r.3": 1})
    client.zadd(keys.of("tenant_inflight", "r|t"), {"r.4": 1})
    client.expire(keys.of("tenant_inflight", "r|t"), 60)
    client.rpush(keys.wake("l"), "1")
    assert leaks(client, keys) == [
        "control:x: has no time to live",
        "slots:s: a string, and the catalogue says zset",
        "surprise: not in the catalogue",
        "task r.2: in tasks and not in slots",
        "task r.1: in slots and not in tasks",
        "task r.3: in waiting and not in slots",
        "task r.4: in tenant_inflight and not in slots",
        "wake:l: of a lane that nobody walks",
    ]


def test_another_namespace_is_not_looked_at(client: Redis, namespace: str) -> None:
    client.set(f"{Keys(namespace + 'x').prefix}surprise", "1", ex=10)
    assert leaks(client, Keys(namespace)) == []

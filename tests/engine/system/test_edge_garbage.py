"""Garbage in any key, and tasks of another envelope version: dropped, logged, answered if they can be."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from floodgate.broker.commands import AdmissionClass, AdmitReply, AdmitRequest, admit
from floodgate.broker.envelopes import VERSION, Task, TaskOutcome, TaskReply, pack_reply, pack_task, unpack_reply
from floodgate.broker.keys import CATALOGUE, Keys
from floodgate.declare.discovery import discover
from floodgate.declare.registry import Handler, Registry
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import EDGE_HANDLERS, App, System, system, until

NOT_TEXT = b"\xff\xfe"


@dataclass(frozen=True, slots=True)
class Malformed:
    """A running system into whose keys a test writes."""

    system: System
    redis: Redis
    keys: Keys
    registry: Registry

    @property
    def gateway(self) -> App:
        return self.system.apps[0]

    @property
    def worker(self) -> App:
        return self.system.apps[1]

    @property
    def handler(self) -> Handler:
        return next(handler for handler in self.registry.handlers if handler.label == "GET /short")

    @property
    def lane(self) -> str:
        return f"{self.registry.release_digest}:a:0"

    def key(self, name: str) -> str:
        """Return the key of a kind in the catalogue, of parts that are in use."""
        kind = next(kind for kind in CATALOGUE if kind.name == name)
        if not kind.per:
            return f"{self.keys.prefix}{name}"
        if kind.per == "process":
            found: bytes = next(self.redis.scan_iter(f"{self.keys.prefix}inbox:*"))
            return found.decode().replace(":inbox:", f":{name}:")
        serving: Any = self.redis.zrange(self.keys.serving(self.lane), 0, 0)
        consumer = serving[0].decode()
        route = self.handler.route
        parts = {"route": route, "lane": self.lane, "consumer": consumer, "pool": self.lane[:-2]}
        parts["group"] = "-" + consumer.partition("-")[2].rpartition(".")[0]
        parts |= {"pool, route, weight": f"{self.lane[:-2]}|{route}|8"}
        parts |= {"route, tenant": f"{route}|acme", "task": f"{route}.0123456789abcdef0123456789abcdef", "record": "k"}
        return f"{self.keys.prefix}{name}:{parts[kind.per]}"

    def answers(self) -> bool:
        return self.gateway.status("/short?tag=malformed&seconds=0") == 200

    def answers_again(self, limit_s: float = 8) -> None:
        """Everything serves as before, in the same processes."""
        until(lambda: self.answers() and self.gateway.ready and self.worker.ready, limit_s)
        start_s = time.monotonic()
        assert all(self.answers() for _ in range(5))
        assert time.monotonic() - start_s < 2  # a wake-up that was lost with the garbage comes again within a second
        assert self.gateway.alive
        assert self.worker.alive

    def logged(self, word: str) -> bool:
        return any(word in str(line["event"]) for app in self.system.apps for line in app.lines())


@pytest.fixture(scope="module")
def malformed(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Malformed]:
    name = f"g{uuid.uuid4().hex[:10]}"
    directory: Path = tmp_path_factory.mktemp("malformed")
    keys = Keys(name)
    with contextlib.closing(Redis.from_url(server.url)) as redis:
        with system(directory, server.url, name) as running:
            running.gateway(wait=False)
            running.worker()
            found = Malformed(running, redis, keys, discover(Settings(handlers=EDGE_HANDLERS)))
            until(lambda: running.apps[0].ready)
            found.answers_again()
            yield found
        for key in redis.scan_iter(f"{keys.prefix}*"):
            redis.unlink(key)


def add_garbage(redis: Redis, key: str, kind: str) -> None:
    """Add to a key what nobody of ours would."""
    if kind == "hash":
        redis.hset(key, mapping={NOT_TEXT: NOT_TEXT, "x.y": "nonsense", "limit ": "-1", "": ""})
    elif kind == "zset":
        redis.zadd(key, {NOT_TEXT: 1, b"no.task": 2, b"a#b#c.d": 3, b"": 4.5})
    elif kind == "string":
        redis.set(key, NOT_TEXT)
    elif kind == "list":
        redis.rpush(key, NOT_TEXT, "")
    elif kind == "set":
        redis.sadd(key, NOT_TEXT, "not-a-name", "")
    else:
        redis.xadd(key, {"r": NOT_TEXT, "z": "?"})


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.name)
def test_garbage_in_any_key_stops_nobody(malformed: Malformed, kind: Any) -> None:
    add_garbage(malformed.redis, malformed.key(kind.name), kind.type)
    malformed.answers_again()


@pytest.mark.parametrize("kind", CATALOGUE, ids=lambda kind: kind.name)
def test_a_key_of_the_wrong_type_is_dropped_and_everything_goes_on(malformed: Malformed, kind: Any) -> None:
    key = malformed.key(kind.name)
    malformed.redis.delete(key)
    malformed.redis.set(key, NOT_TEXT)
    malformed.answers_again()


def test_garbage_is_logged(malformed: Malformed) -> None:
    malformed.redis.zadd(malformed.keys.of("waiting", malformed.lane), {"some.garbage": 0})
    malformed.redis.rpush(malformed.keys.wake(malformed.lane), "1")
    until(lambda: malformed.logged("malformed"))
    malformed.answers_again()


def blob_of(malformed: Malformed, task_id: str) -> AdmitRequest:
    """A good task of ours, of a gateway called `tester`."""
    handler = malformed.handler
    flow = f"{handler.route}|8|"
    deadline_ms = round(time.time() * 1000) + 5000
    task = Task(deadline_ms, handler.route, malformed.lane, "tester", 2, flow, 8, 5000, task_id)
    kind = AdmissionClass(handler.route, malformed.lane, flow, 8, 1000, 5000)
    return AdmitRequest(kind, task_id, deadline_ms, pack_task(task))


@pytest.mark.parametrize(("ours", "theirs"), [(b"\x98\x02", b"\x98\x03"), (b"\x98\x02", b"\xc1\xc1")])
def test_a_task_of_another_envelope_version_is_answered_as_failed_and_logged(
    malformed: Malformed, ours: bytes, theirs: bytes
) -> None:
    admission = blob_of(malformed, f"{malformed.handler.route}.{uuid.uuid4().hex[:16]}")
    assert admission.blob.count(ours) == 1
    bad = dataclasses.replace(admission, blob=admission.blob.replace(ours, theirs))
    call = admit(malformed.keys, valid_until_ms=admission.deadline_ms, requests=[bad])
    answer: Any = malformed.redis.execute_command(*call.evalsha)
    reply: AdmitReply = call.read(answer)
    assert reply.results[0].code == 0
    streams: Any = malformed.redis.xread({malformed.keys.inbox("tester"): "0"}, count=1, block=3000)
    ((_, values),) = streams[0][1]
    assert unpack_reply(values[b"r"]) == TaskReply(admission.id, TaskOutcome.FAILED)
    malformed.redis.delete(malformed.keys.inbox("tester"))
    assert malformed.worker.said(task=admission.id)
    assert not malformed.redis.hexists(malformed.keys.of("tasks"), admission.id)


def test_a_reply_of_another_envelope_version_is_dropped_and_logged(malformed: Malformed) -> None:
    good = pack_reply(TaskReply("a.b", TaskOutcome.DONE, 200))
    malformed.redis.xadd(malformed.key("inbox"), {"r": good.replace(b"\x98\x02", b"\x98\x03")})
    said = f"envelope version {VERSION + 1}"
    until(lambda: any(said in str(line.get("reason")) for line in malformed.gateway.lines()))
    malformed.answers_again()


def test_routes_that_are_lost_are_declared_again(malformed: Malformed) -> None:
    """Without them `reap` would end no lease and free no slot."""
    key, redis = malformed.keys.routes(), malformed.redis
    routes = {handler.route.encode() for handler in discover(Settings(handlers=EDGE_HANDLERS)).handlers}
    for lost in (routes, [max(routes)]):
        redis.srem(key, *lost)
        until(lambda: routes <= redis.smembers(key), 4)

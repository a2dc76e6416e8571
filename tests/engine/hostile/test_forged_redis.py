"""A Redis full of forged tasks, replies, leases, results, letters and numbers: refused, and everything goes on.

Whoever may write to Redis may answer any request. What is shown here is that he ends no
process, fills no memory, breaks no framing, and gets nothing internal to a client.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgpack
import pytest
from redis import Redis, RedisError

from floodgate.broker.envelopes import Task, TaskOutcome, TaskReply, pack_reply, pack_task
from floodgate.broker.keys import Keys, flow_of
from floodgate.declare.discovery import discover
from floodgate.declare.registry import Handler
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.hostile.test_openapi import SEED, TELLTALE
from tests.engine.system.system import EDGE_HANDLERS, System, resident, system, until

T = TypeVar("T")

LASTS_S = 12.0
MOST_GROWTH = 96 << 20
FRAMING, SPLITTING = ((b"content-length", b"7"),), ((b"x", b"a\r\nset-cookie: b"),)
NUMBERS = ["nan", "inf", "-inf", "1e308", "-1", "0", "", "x", "1e-320", "9" * 400, "0x10", "\xff"]
STATISTICS = [
    *("limit", "override", "max_running", "mean_ms", "completed", "busy_ms", "measured_at", "refused", "refused_at"),
    *("queued_since", "last_completion_at", "~mean_ms", "~last_completion_at", "version"),
]


@dataclass(frozen=True, slots=True)
class Forger:
    """Writes what nobody of ours would, as random numbers say."""

    redis: Redis
    keys: Keys
    handler: Handler
    lane: str
    random: random.Random

    def pick(self, *values: T) -> T:
        return self.random.choice(values)

    def blob(self) -> bytes:
        """Return a task: a good one, or what is left of it."""
        task = Task(
            deadline_ms=round(time.time() * 1000) + self.pick(-5000, 3000, 10**9),
            route=self.handler.route,
            lane=self.lane,
            inbox=self.pick("tester", "=60=tester", "=999999999999=", "=0=x", ""),
            attempts=self.pick(0, 1, 2, 10**9),
            flow=flow_of(self.handler.route, 8),
            weight=self.pick(8, 0, -1, 10**12),
            budget_ms=self.pick(5000, -1, 10**15),
            request_id=self.id(),
            query="tag=forged&seconds=0",
        )
        return self.mutated(pack_task(task))

    def mutated(self, data: bytes) -> bytes:
        """Return the bytes with a change, or with none."""
        at = self.random.randrange(len(data))
        found: bytes = self.random.choice(
            [
                data,
                data[:at],
                data[:at] + self.random.randbytes(3) + data[at + 3 :],
                data[:at] + data,
                data + b"\x00" * 1000,
                data[:13] + msgpack.packb([[[[None] * 100] * 100]]),
                data[:13] + b"\x91" * 5000,
                data[:13] + b"\xdf\xff\xff\xff\xff",
                self.random.randbytes(200),
            ]
        )
        return found

    def id(self) -> str:
        return f"{self.handler.route}.{self.random.randbytes(16).hex()}"

    def any_id(self) -> str:
        """Return the id of a task that is there, if one is; else another, or none at all."""
        there: Any = self.redis.hrandfield(self.keys.of("tasks"), 3)
        known: list[str] = [id.decode("utf-8", "replace") for id in there or ()]
        return self.pick(*known, self.id(), "x", "", ".", f"{self.handler.route}.", "#" * 50)

    def task(self) -> None:
        id = self.any_id()
        pipe = self.redis.pipeline()
        pipe.hset(self.keys.of("tasks"), id, self.blob())
        if self.random.random() < 0.7:
            pipe.zadd(self.keys.slots(self.handler.route), {id: self.pick(0, 1e13, 1e300, time.time() * 1000)})
        key = self.random.choice([self.keys.of("waiting", self.lane), self.keys.parked(self.handler.route)])
        pipe.zadd(key, {id: self.pick(0, -1e9, 1e300, float("inf"))})
        pipe.rpush(self.keys.wake(self.lane), "1")
        pipe.execute()

    def reply(self) -> None:
        headers = self.random.choice(
            [
                (),
                ((b"content-length", b"7"),),
                ((b"x", b"a\r\nset-cookie: b"),),
                ((b"X Y", b""),),
                ((b"x", b"a"),) * 500,
            ]
        )
        outcome = self.random.choice(list(TaskOutcome))
        status = self.random.choice([200, 99, 600, 101, 204, 304, -1, 2**40])
        body = self.random.choice([b"", b"forged", b"x" * 300_000])
        reply = TaskReply(self.any_id(), outcome, status, headers, body, self.random.choice([0, -1, 10**18]), 10**18)
        for inbox in self.redis.scan_iter(f"{self.keys.prefix}inbox:*"):
            self.redis.xadd(inbox, {self.random.choice(["r", "r", "q"]): self.mutated(pack_reply(reply))})

    def lease(self) -> None:
        serving: Any = self.redis.zrange(self.keys.serving(self.lane), 0, 0)
        consumer = serving[0].decode() if serving else "w"
        name = self.random.choice([f"{consumer}#1#{self.any_id()}", f"a-1.a.9#x#{self.any_id()}", "##", "#", "a.b", ""])
        self.redis.zadd(
            self.keys.running(self.handler.route), {name: self.random.choice([0, 1e300, time.time() * 1000])}
        )
        self.redis.hset(
            self.keys.of("attempts"), self.any_id(), self.random.choice(["x", "1 w", "-1", "9" * 99, "nan", ""])
        )

    def result(self) -> None:
        reply = pack_reply(TaskReply(self.id(), TaskOutcome.DONE, 200, (), b"forged"))
        self.redis.set(self.keys.of("result", self.any_id()), self.mutated(reply), ex=30)
        self.redis.hset(self.keys.results(), self.random.choice(NUMBERS), self.random.choice(NUMBERS))

    def number(self) -> None:
        self.redis.hset(
            self.keys.statistics(self.handler.route), self.random.choice(STATISTICS), self.random.choice(NUMBERS)
        )
        self.redis.hset(
            self.keys.reap(), self.random.choice(["last", "gap", "dead_entries"]), self.random.choice(NUMBERS)
        )

    def name(self) -> None:
        """Forge lanes, releases, consumers, gateways, messages and letters."""
        text = self.random.choice(["a:b:c", ":", "", "\xff", "x" * 5000, f"{self.lane}x", "a=b c=d"])
        self.redis.hset(self.keys.releases(), text, f"{self.handler.route}={text} =")
        self.redis.sadd(self.keys.lanes(), text[:100])
        self.redis.zadd(self.keys.serving(self.lane), {f"{text[:50]}-5.a.9": time.time() * 1000 + 500})
        self.redis.zadd(self.keys.of("gateways"), {text[:50]: self.random.choice([0, 1e300])})
        for control in self.redis.scan_iter(f"{self.keys.prefix}control:*"):
            self.redis.rpush(control, self.any_id(), "leave", text)
        self.redis.xadd(self.keys.of("dead"), {"id": text, "blob": self.blob()}, maxlen=200)


@pytest.fixture
def forged(server: EmbeddedServer, tmp_path: Path) -> Iterator[tuple[System, Forger]]:
    namespace = f"f{uuid.uuid4().hex[:10]}"
    registry = discover(Settings(handlers=EDGE_HANDLERS))
    handler = next(handler for handler in registry.handlers if handler.label == "GET /short")
    with contextlib.closing(Redis.from_url(server.url)) as client, system(tmp_path, server.url, namespace) as running:
        running.gateway(wait=False)
        running.worker()
        until(lambda: running.apps[0].status("/ok") == 200, 15)
        yield running, Forger(client, Keys(namespace), handler, f"{registry.release_digest}:a:0", random.Random())
        client.unlink("", *client.scan_iter(f"{Keys(namespace).prefix}*", count=1000))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED, random.SystemRandom().randrange(1 << 32)], ids=["fixed", "fresh"])
def test_whatever_is_forged_ends_nothing_and_tells_nothing(forged: tuple[System, Forger], seed: int) -> None:
    running, forger = forged
    print(f"seed {seed}")
    forger.random.seed(seed)
    gateway, worker = running.apps
    before = [resident(app) for app in running.apps]
    answers: Counter[int] = Counter()
    telling: list[str] = []
    ends_s = time.monotonic() + LASTS_S

    def ask() -> None:
        with httpx.Client(base_url=gateway.url, timeout=15) as client:
            while time.monotonic() < ends_s:
                for path in ("/short?tag=forged&seconds=0.01", f"/tasks/{forger.id()}"):
                    try:
                        answer = client.get(path)
                    except httpx.RemoteProtocolError as error:
                        telling.append(f"no HTTP: {error}")
                        continue
                    answers[answer.status_code] += 1
                    if TELLTALE.search(answer.content) or "set-cookie" in answer.headers:
                        telling.append(answer.text[:500])

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    forge: list[Callable[[], None]] = [
        *(forger.task, forger.task, forger.reply, forger.reply),
        *(forger.lease, forger.result, forger.number, forger.name),
    ]
    while time.monotonic() < ends_s:
        with contextlib.suppress(RedisError):
            forger.random.choice(forge)()
        time.sleep(0.002)
    for thread in asking:
        thread.join()
    print(dict(answers))
    assert telling == []
    assert gateway.alive
    assert worker.alive
    for app, size in zip(running.apps, before, strict=True):
        assert resident(app) < size + MOST_GROWTH
        assert "Traceback" not in app.log.read_text(errors="replace"), app.log.name
    # What was forged is forgotten with its keys, and everything is as it was, in the same processes.
    forger.redis.unlink("", *forger.redis.scan_iter(f"{forger.keys.prefix}*", count=1000))
    until(lambda: gateway.ready and worker.ready and gateway.status("/short?tag=after&seconds=0") == 200, 15)
    assert [gateway.status("/short?tag=after&seconds=0") for _ in range(5)] == [200] * 5

"""A queue under test: the real scripts on a real server, with a clock that the test moves.

Owns the one replaced line of the prelude, and short forms of the calls. Asserts
nothing itself, and leaves judging to the tests.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from redis import Redis

from floodgate.broker import commands as calls
from floodgate.broker import dead_letters, results
from floodgate.broker.cancellation import CancelMode, cancel
from floodgate.broker.envelopes import unpack_reply
from floodgate.broker.idempotency import AdmitKey
from floodgate.broker.keys import FORMAT, Keys
from floodgate.broker.repair import repair
from floodgate.broker.scripts import Script
from tests.engine.envelopes import (
    BUDGET_MS,
    LANE,
    POOL,
    ROUTE,
    START_MS,
    WORKER,
    admission,
    completion,
    lease,
    route_of,
    task_id,
)
from tests.engine.snapshot import Snapshot, snapshot

__all__ = [
    "BUDGET_MS",
    "GAP_MS",
    "LANE",
    "LEASE_MS",
    "PERIOD_MS",
    "POOL",
    "REGISTRATION_MS",
    "ROUTE",
    "START_MS",
    "WORKER",
    "Queue",
    "admission",
    "completion",
    "lease",
    "outcome",
    "route_of",
    "task_id",
]

T = TypeVar("T")

LEASE_MS = 5_000
REGISTRATION_MS = 3_000
PERIOD_MS = 900
GAP_MS = 2_500
BATCH_BYTES = 512 * 1024

_CLOCK = re.compile(r"(?:redis\.)?call\('TIME'\)")
_TOLD = "{string.match(KEYS[#KEYS], ' (%d+) (%d+)$')}"
"""Instead of it: the time comes along with each call, as the name of one more key."""
_LOADED: WeakKeyDictionary[Redis, set[str]] = WeakKeyDictionary()


@functools.cache
def _edited(script: Script, edits: tuple[tuple[str, str, str], ...]) -> Script:
    text, count = _CLOCK.subn(lambda _: _TOLD, script.text)
    assert count == 1, "one line of the prelude reads the clock"
    for _, old, new in edits:
        assert old in text, f"{script.name}: the mutated line is gone: {old}"
        text = text.replace(old, new)
    return dataclasses.replace(script, text=text, sha=hashlib.sha1(text.encode()).hexdigest())


class Queue:
    """One namespace and its scripts; `edits` (script or '*', text, replacement) are deliberate mistakes."""

    def __init__(self, client: Redis, namespace: str, edits: Sequence[tuple[str, str, str]] = ()) -> None:
        self.client, self.keys, self._edits = client, Keys(namespace), tuple(edits)
        self._kinds: dict[str, calls.AdmissionClass] = {}
        """Of every request so far, by id."""
        self._slot = f"{{{namespace}:{FORMAT}}}"
        """The hash tag of the prefix, so that the key that tells the time is in the same Cluster slot."""
        self.now_ms = START_MS

    def took_over(self, other: Queue) -> None:
        """Know what another one of the same namespace asked for, and how late it is."""
        self._kinds |= other._kinds
        self.now_ms = other.now_ms

    def advance(self, ms: int) -> None:
        """Let time pass; negative: the server's clock steps back."""
        self.now_ms += ms

    def send(self, call: calls.Call[T]) -> T:
        """Run a call with the replaced clock and the edits."""
        script = self.load(call.script)
        call = dataclasses.replace(call, script=script)
        now = f"{self._slot} {self.now_ms // 1000} {self.now_ms % 1000 * 1000}"
        command: Any = ("EVALSHA", script.sha, 2, call.prefix, now, *call.args)
        reply: object = self.client.execute_command(*command)
        return call.read(reply)

    def load(self, script: Script) -> Script:
        """Return the script as this queue runs it, loaded into the server."""
        edited = _edited(script, tuple(edit for edit in self._edits if edit[0] in (script.name, "*")))
        loaded = _LOADED.setdefault(self.client, set())
        if edited.sha not in loaded:
            loaded.add(edited.sha)
            self.client.script_load(edited.text)
        return edited

    # Short forms

    def declare(
        self, limit: int = 3, *, started_ms: int = START_MS - 1, route: str = ROUTE, max_running: int = 0, **more: Any
    ) -> int:
        limits = {route: (limit, max_running)}
        return self.send(calls.declare(self.keys, started_ms=started_ms, limits=limits, lanes=[LANE], **more))

    def publish(self, release: str, **digests: str) -> None:
        """Say, as a worker does, how a release sees routes; their digests are given as `r<route>`."""
        digests = {route.removeprefix("r"): digest for route, digest in digests.items()}
        self.send(calls.declare(self.keys, started_ms=START_MS, limits={}, lanes=[], release=release, digests=digests))

    def register(
        self,
        consumer: str = WORKER,
        *,
        lanes: Sequence[str] = (LANE,),
        leases: Sequence[str] = (),
        lease_ms: int = LEASE_MS,
    ) -> calls.RenewReply:
        return self._renew(consumer, lease_ms * REGISTRATION_MS // LEASE_MS, lanes, leases, lease_ms)

    def leave(self, consumer: str = WORKER, *, lanes: Sequence[str] = (LANE,)) -> calls.RenewReply:
        return self._renew(consumer, 0, lanes, ())

    def send_leave(self, consumer: str, *leases: str) -> calls.RenewReply:
        """Take leave and go on with what runs."""
        return self._renew(consumer, 0, (LANE, f"{POOL}:5"), leases)

    def _renew(
        self, consumer: str, ms: int, lanes: Sequence[str], leases: Sequence[str], lease_ms: int = LEASE_MS
    ) -> calls.RenewReply:
        named = [(route_of(lease.rpartition("#")[2]), lease) for lease in leases]
        return self.send(
            calls.renew(self.keys, consumer=consumer, register_ms=ms, lease_ms=lease_ms, lanes=lanes, leases=named)
        )

    def admit(
        self, *ids: str, late_ms: int = 1000, suppressed: Mapping[str, int] = {}, **task: Any
    ) -> calls.AdmitReply:
        return self.ask(*(self.request(id, **task) for id in ids), late_ms=late_ms, suppressed=suppressed)

    def request(self, id: str, **task: Any) -> calls.AdmitRequest:
        """Return a request made now, for `ask`."""
        return admission(self.now_ms, id, **task)

    def ask(
        self,
        *requests: calls.AdmitRequest,
        late_ms: int = 1000,
        suppressed: Mapping[str, int] = {},
        letter: str = "",
        key: Sequence[AdmitKey] = (),
    ) -> calls.AdmitReply:
        """Send one batch of different requests, or the one that runs a dead letter again.

        With a `key` for each, it names its record at the end of its id.
        """
        self._kinds.update((request.id, request.kind) for request in requests)
        keyed = [one.arguments(place) for place, one in enumerate(key)]
        return self.send(
            calls.admit(
                self.keys,
                valid_until_ms=self.now_ms + late_ms,
                requests=requests,
                suppressed=suppressed,
                letter=letter,
                keyed=keyed,
            )
        )

    def codes(self, *ids: str, **task: Any) -> list[int]:
        """Admit and return the codes alone."""
        return [int(v.code) for v in self.admit(*ids, **task).results]

    def admitted(self, count: int, first: int = 0, **task: Any) -> int:
        """Ask for `count` of a kind, named by numbers, and return how many came in."""
        return self.codes(*(str(first + i) for i in range(count)), **task).count(0)

    def claim(
        self,
        serial: int = 1,
        *,
        consumer: str = WORKER,
        free: int = 10,
        lanes: Sequence[str] = (LANE,),
        late_ms: int = 4000,
        max_bytes: int = BATCH_BYTES,
        lease_ms: int = LEASE_MS,
        pool: str = POOL,
    ) -> calls.ClaimReply:
        return self.send(
            calls.claim(
                self.keys,
                valid_until_ms=self.now_ms + late_ms,
                consumer=consumer,
                serial=serial,
                free=free,
                lease_ms=lease_ms,
                max_bytes=max_bytes,
                pool=pool,
                lanes=lanes,
            )
        )

    def claimed(self, serial: int = 1, **options: Any) -> list[str]:
        """Claim and return the ids alone."""
        return [task.id for task in self.claim(serial, **options).tasks]

    def complete(self, *leases: str, **report: Any) -> list[bool]:
        return self.report_all(*(self.report(lease, **report) for lease in leases))

    def report_all(self, *reports: calls.Completion) -> list[bool]:
        """Send one batch of different reports."""
        return list(self.send(calls.complete(self.keys, reports)).results)

    def report(self, lease: str, **report: Any) -> calls.Completion:
        """Return what a worker says of a run: of the flow, lane and budget that its task was admitted with."""
        kind = self._kinds.get(lease.rpartition("#")[2])
        known = {} if kind is None else {"flow": kind.flow, "lane": kind.lane, "budget_ms": kind.budget_ms}
        return completion(lease, **{**known, **report})

    def cancel(self, *ids: str, mode: CancelMode = CancelMode.LEFT) -> list[int]:
        return [int(code) for code in self.send(cancel(self.keys, ids, mode))]

    def poll(self, id: str) -> results.PollReply:
        return self.send(results.poll(self.keys, id))

    def release(self, *leases: str, started: bool) -> list[bool]:
        items = [
            calls.Released(lease, lease.rpartition("#")[2], route_of(lease.rpartition("#")[2]), started)
            for lease in leases
        ]
        held = self.send(calls.release(self.keys, items))
        return list(held)

    def reclaim(self, last_serial: int, *known: str, consumer: str = WORKER) -> set[str]:
        return set(self.send(calls.reclaim(self.keys, consumer=consumer, last_serial=last_serial, known=known)).results)

    def reap(self, batch: int = 256, lease_ms: int = LEASE_MS, **more: Any) -> calls.ReapReply:
        return self.send(
            calls.reap(
                self.keys,
                lease_ms=lease_ms,
                period_ms=PERIOD_MS * min(lease_ms, LEASE_MS) // LEASE_MS,
                batch=batch,
                **more,
            )
        )

    def repair(self, period_ms: int = 0, step: int = 1000) -> list[str]:
        """Look at all keys, and return the names of those that had a wrong type, without the prefix."""
        cursor, deleted = b"0", []
        while True:
            reply = self.send(repair(self.keys, cursor=cursor, period_ms=period_ms, step=step))
            deleted += [key.removeprefix(self.keys.prefix) for key in reply.deleted]
            cursor = reply.cursor
            if cursor == b"0":
                return deleted

    def pass_time(
        self, ms: int, *, alive: Sequence[str] = (), leases: Sequence[str] = (), gateways: Sequence[str] = ()
    ) -> None:
        """Let `ms` pass with a reap every second; `alive` renew themselves and `leases`, `gateways` are there."""
        while ms > 0:
            step = min(ms, 1000)
            self.advance(step)
            ms -= step
            for consumer in alive:
                self.register(consumer, leases=[lease for lease in leases if lease.startswith(consumer + "#")])
            for gateway in gateways or ("",):
                self.reap(gateway=gateway)

    # What is there

    def slots(self, route: str = ROUTE) -> set[str]:
        return self._members(self.keys.slots(route))

    def waiting(self, lane: str = LANE) -> list[str]:
        found: Any = self.client.zrange(self.keys.of("waiting", lane), 0, -1)
        return [id.decode() for id in found]

    def running(self, route: str = ROUTE) -> set[str]:
        return self._members(self.keys.running(route))

    def tasks(self) -> set[str]:
        found: Any = self.client.hkeys(self.keys.of("tasks"))
        return {id.decode() for id in found}

    def marker(self, lane: str = LANE) -> int:
        length: Any = self.client.llen(self.keys.wake(lane))
        return int(length)

    def take_marker(self, lane: str = LANE) -> bool:
        """Do what BLPOP does for a parked consumer."""
        return self.client.lpop(self.keys.wake(lane)) is not None

    def parked(self, route: str = ROUTE) -> list[str]:
        found: Any = self.client.zrange(self.keys.parked(route), 0, -1)
        return [id.decode() for id in found]

    def stranded(self, route: str = ROUTE) -> set[str]:
        return {member.rpartition("#")[2] for member in self._members(self.keys.stranded(route))}

    def tenant_inflight(self, tenant: str, route: str = ROUTE) -> set[str]:
        return self._members(self.keys.of("tenant_inflight", f"{route}|{tenant}"))

    def virtual(self) -> float | None:
        return self.client.zscore(self.keys.of("clock", POOL), "")

    def tags(self, key: str) -> list[float]:
        """Return the start tags of what waits in a lane, or is parked."""
        found: Any = self.client.zrange(key, 0, -1, withscores=True)
        return [tag for _, tag in found]

    def statistics(self, route: str = ROUTE) -> dict[str, float]:
        """Return the numbers of a route by field."""
        found: Any = self.client.hgetall(self.keys.statistics(route))
        return {name.decode(): float(value) for name, value in found.items()}

    def measured(self, **fields: float) -> None:
        """Put statistics there, as if they had been measured; `later_mean` is the one of detached tasks."""
        named: Any = {name.replace("later_", "~"): value for name, value in fields.items()}
        self.client.hset(self.keys.statistics(ROUTE), mapping=named)

    def result(self, id: str) -> str | None:
        """Return the outcome that is kept of a detached task."""
        found: Any = self.client.get(self.keys.of("result", id))
        return None if found is None else outcome(found)[1]

    def replies(self, inbox: str = "box") -> list[tuple[str, str]]:
        """Return (id, outcome) of every reply; a handler's is 'done' here."""
        name = self.keys.inbox(inbox).removeprefix(self.keys.prefix)
        found = self.snapshot()
        return [outcome(data) for data in found[name].items] if name in found else []

    def dead(self) -> list[dead_letters.StoredLetter]:
        """Return the copies of lost tasks, the oldest first."""
        letters: list[dead_letters.StoredLetter] = []
        while page := self.send(dead_letters.read_letters(self.keys, before=letters[-1].entry if letters else "")).page:
            letters += page
        return letters[::-1]

    def snapshot(self) -> Snapshot:
        return snapshot(self.client, self.keys)

    def _members(self, key: str) -> set[str]:
        found: Any = self.client.zrange(key, 0, -1)
        return {member.decode() for member in found}


def outcome(data: bytes) -> tuple[str, str]:
    """Return id and outcome of a stored reply."""
    text = data.decode(errors="replace")
    if text.startswith("done "):
        return text.removeprefix("done "), "done"
    reply = unpack_reply(data)
    return reply.task_id, reply.outcome.value

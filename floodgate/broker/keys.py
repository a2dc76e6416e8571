"""Every Redis key: its name, type, content and who ends it.

Owns the names on the Python side, as `lib/prelude.lua` owns them for the scripts,
and the catalogue that the docs and the tests for leaked keys read. Pure; must
not know a client.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_TENANT = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_TENANT_DIGEST = re.compile(r"=[0-9a-f]{32}")

FORMAT = 2
"""Version of everything stored. Another one lives beside it and never meets it, so `make roll` refuses to cross it."""

INBOX_S = 60
CONTROL_S = 60
DEAD_S = 7 * 24 * 3600
INFLIGHT_S = 7200
RESULT_S = 7 * 24 * 3600
MOST_WINDOW_S = 7 * 24 * 3600
RECORD_S = MOST_WINDOW_S + 4 * 3600  # while the task is there: its deadline, and what it overruns
ACKNOWLEDGED_S = 60
REPAIR_S = 60
"""Times to live that the scripts set; at most this."""


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """One row of the catalogue; `per` is what stands after the colon, '' for a single key."""

    name: str
    per: str
    type: str
    content: str
    owner: str
    ttl_s: int | None = None
    """Seconds to live at most, or None where `owner` ends it."""


CATALOGUE = (
    KeyPattern(
        "slots", "route", "zset", "id → when reap has to look at it; ZCARD is the number in flight", "its tasks"
    ),
    KeyPattern("tasks", "", "hash", "id → deadline, header, body", "exists iff in slots"),
    KeyPattern(
        "attempts", "", "hash", "id → attempts used and the consumers that were lost, or x: cancelled", "its tasks"
    ),
    KeyPattern("waiting", "lane", "zset", "id → start tag", "its tasks"),
    KeyPattern("parked", "route", "zset", "the same, held back by max_running", "its tasks"),
    KeyPattern("stranded", "route", "zset", "lane#id → start tag, of 202s whose lane nobody serves", "its tasks"),
    KeyPattern(
        "tenant_inflight", "route, tenant", "zset", "id → deadline: a tenant's tasks", "its tasks; time", INFLIGHT_S
    ),
    KeyPattern(
        "turns",
        "pool, route, weight",
        "zset",
        "flow → finish tag, of tenants that asked lately; '': virtual time",
        "admit; time",
        INFLIGHT_S,
    ),
    KeyPattern("running", "route", "zset", "lease name → end of the lease", "its tasks"),
    KeyPattern("holders", "group", "hash", "id → the consumer that runs it, since when, its time-out", "its tasks"),
    KeyPattern("wake", "lane", "list", "the wake-up marker: at most one element", "reap, when the lane is empty"),
    KeyPattern("serving", "lane", "zset", "consumer → end of its registration", "reap"),
    KeyPattern(
        "concurrency",
        "",
        "hash",
        "lane → concurrency of its live consumers, the same by group, rates of its routes",
        "reap, with the lane's last consumer",
    ),
    KeyPattern("releases", "", "hash", "release → its routes' digests", "reap, when unserved and without tasks"),
    KeyPattern("unserved", "", "zset", "release that nobody serves → since when", "reap, with the release"),
    KeyPattern("control", "consumer", "list", "ids to stop, or leave", "time", CONTROL_S),
    KeyPattern("clock", "pool", "zset", "flow → finish tag; '' → virtual time", "reap, when nothing waits"),
    KeyPattern("inbox", "process", "stream", "replies, field r", "time", INBOX_S),
    KeyPattern(
        "acknowledged", "process", "hash", "id → bytes of its stream that its client has taken", "time", ACKNOWLEDGED_S
    ),
    KeyPattern(
        "result", "task", "string", "the reply of a task that nobody waits for on a connection", "time", RESULT_S
    ),
    KeyPattern("results", "", "hash", "minute → bytes of the results that end in it", "time", RESULT_S + 60),
    KeyPattern(
        "idempotency",
        "record",
        "hash",
        "what is known of an Idempotency-Key: its task and who waits for it, then the answer",
        "time",
        RECORD_S,
    ),
    KeyPattern("idempotency_bytes", "", "hash", "minute → bytes of the records that end in it", "time", RECORD_S),
    KeyPattern(
        "statistics", "route", "hash", "limits and the fields of the admission rule", "one per route; overrides stay"
    ),
    KeyPattern("routes", "", "set", "what reap walks", "one per declared route"),
    KeyPattern("gateways", "", "zset", "gateway process → end of its presence", "reap, two hours after it"),
    KeyPattern("lanes", "", "set", "what reap walks", "reap, when neither served nor used"),
    KeyPattern("reap", "", "hash", "when it ran (last), what is too long ago (gap), how long its graces last", "one"),
    KeyPattern("repair", "", "string", "whoever looks for keys of a wrong type says so", "time", REPAIR_S),
    KeyPattern("stamp", "", "string", "a name of this data set: with another one, what was queued is gone", "one"),
    KeyPattern(
        "dead",
        "",
        "stream",
        "lost tasks, the last 780 or what FLOODGATE_DEAD_MAX_BYTES says, each cut at 16 KiB",
        "reap, after seven days; time",
        DEAD_S,
    ),
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace, all in one Cluster slot."""

    namespace: str

    @property
    def prefix(self) -> str:
        """Return what every key begins with; scripts get it as KEYS[1]."""
        return f"{{{self.namespace}:{FORMAT}}}:"

    def of(self, name: str, per: str = "") -> str:
        """Return the key of a row of the catalogue."""
        return f"{self.prefix}{name}:{per}" if per else f"{self.prefix}{name}"

    # Those that the apps read themselves.

    def slots(self, route: str) -> str:
        return self.of("slots", route)

    def running(self, route: str) -> str:
        return self.of("running", route)

    def parked(self, route: str) -> str:
        return self.of("parked", route)

    def stranded(self, route: str) -> str:
        return self.of("stranded", route)

    def statistics(self, route: str) -> str:
        return self.of("statistics", route)

    def serving(self, lane: str) -> str:
        return self.of("serving", lane)

    def wake(self, lane: str) -> str:
        return self.of("wake", lane)

    def control(self, consumer: str) -> str:
        return self.of("control", consumer)

    def inbox(self, process: str) -> str:
        return self.of("inbox", process)

    def releases(self) -> str:
        return self.of("releases")

    def lanes(self) -> str:
        return self.of("lanes")

    def routes(self) -> str:
        return self.of("routes")

    def reap(self) -> str:
        return self.of("reap")

    def results(self) -> str:
        return self.of("results")

    def idempotency(self, record: str) -> str:
        return self.of("idempotency", record)

    def idempotency_bytes(self) -> str:
        return self.of("idempotency_bytes")

    def dead(self) -> str:
        return self.of("dead")

    def stamp(self) -> str:
        return self.of("stamp")


def lane_of(release: str, kind: str, level: int) -> str:
    """Return the lane of a handler; `kind` is 'a' or 's'."""
    return f"{release}:{kind}:{level}"


def group_of(lanes: Iterable[str]) -> str:
    """Return the name of the group of processes that serve these lanes; it stands in their consumers' names."""
    return hashlib.blake2b(" ".join(sorted(lanes)).encode(), digest_size=4).hexdigest()


def flow_of(route: str, weight: int, tenant: str = "", async_response: bool = False) -> str:
    """Return what is served in turn. `async_response`: nobody waits on a connection; its statistics are kept apart.

    A tenant's name comes from outside, so one of another form is replaced by its digest, which no plain name equals.
    """
    if tenant and not _TENANT.fullmatch(tenant):
        tenant = f"={hashlib.blake2b(tenant.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    return f"{route}|{weight}|{tenant}|~" if async_response else f"{route}|{weight}|{tenant}"


def async_flow_of(flow: str, route: str, weight: int) -> str:
    """Return the flow of the tenant of `flow`, for a task of which nobody waits on a connection."""
    own, _, rest = flow.removesuffix("|~").partition("|")
    tenant = rest.partition("|")[2] if own == route else ""
    if _TENANT_DIGEST.fullmatch(tenant):
        return f"{route}|{weight}|{tenant}|~"
    return flow_of(route, weight, tenant, True)


def lease_of(consumer: str, serial: int, task_id: str) -> str:
    """Return a lease's name, which is never used twice."""
    return f"{consumer}#{serial}#{task_id}"

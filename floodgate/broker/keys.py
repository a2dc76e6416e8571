"""Every Redis key: its name, type, content and who ends it.

Owns the names on the Python side, as `prelude.lua` owns them for the scripts,
and the catalogue that the docs and the tests for leaked keys read. Pure; must
not know a client.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_TENANT = re.compile(r"[A-Za-z0-9_.@-]{1,64}")

FORMAT = 1
"""Version of everything stored; another one lives beside it and never meets it."""

INBOX_S = 60
BELL_S = 60
DEAD_S = 7 * 24 * 3600
HELD_S = 7200
RESULT_S = 7 * 24 * 3600
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
    KeyPattern("marks", "", "hash", "id → tries used, or x: nobody waits any more", "its tasks"),
    KeyPattern("waiting", "lane", "zset", "id → start tag", "its tasks"),
    KeyPattern("parked", "route", "zset", "the same, held back by max_running", "its tasks"),
    KeyPattern("stranded", "route", "zset", "lane#id → start tag, of 202s whose lane nobody serves", "its tasks"),
    KeyPattern("held", "route, tenant", "zset", "id → deadline: a tenant's tasks", "its tasks; time", HELD_S),
    KeyPattern(
        "turns",
        "pool, route, weight",
        "zset",
        "flow → finish tag, of tenants that asked lately; '': virtual time",
        "admit; time",
        HELD_S,
    ),
    KeyPattern("running", "route", "zset", "lease name → end of the lease", "its tasks"),
    KeyPattern("holders", "group", "hash", "id → the claimer that runs it, since when, its time-out", "its tasks"),
    KeyPattern("wake", "lane", "list", "the baton: at most one element", "reap, when the lane is empty"),
    KeyPattern("serving", "lane", "zset", "claimer → end of its registration", "reap"),
    KeyPattern(
        "places",
        "",
        "hash",
        "lane → places of its live claimers, the same by group, pace of its runs",
        "reap, with the lane's last claimer",
    ),
    KeyPattern("contracts", "", "hash", "contract → its routes' digests", "reap, when unserved and without tasks"),
    KeyPattern("unserved", "", "zset", "contract that nobody serves → since when", "reap, with the contract"),
    KeyPattern("bell", "claimer", "list", "ids to stop, or leave", "time", BELL_S),
    KeyPattern("clock", "pool", "zset", "flow → finish tag; '' → virtual time", "reap, when nothing waits"),
    KeyPattern("inbox", "process", "stream", "replies, field r", "time", INBOX_S),
    KeyPattern(
        "result", "task", "string", "the reply of a task that nobody waits for on a connection", "time", RESULT_S
    ),
    KeyPattern("results", "", "hash", "minute → bytes of the results that end in it", "time", RESULT_S + 60),
    KeyPattern(
        "figures", "route", "hash", "limits and the fields of the admission rule", "one per route; overrides stay"
    ),
    KeyPattern("routes", "", "set", "what reap walks", "one per declared route"),
    KeyPattern("gateways", "", "zset", "gateway process → end of its presence", "reap, two hours after it"),
    KeyPattern("lanes", "", "set", "what reap walks", "reap, when neither served nor used"),
    KeyPattern("reap", "", "hash", "last: when it ran; gap: too long ago; until, grace, dropped: see there", "one"),
    KeyPattern("stamp", "", "string", "a name of this data set: with another one, what was queued is gone", "one"),
    KeyPattern(
        "dead",
        "",
        "stream",
        "lost tasks, the last 780 or what FLOODGATE_DEAD_MAX_BYTES says, each cut at 16 KiB",
        "time",
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

    def slots(self, route: str) -> str:
        return f"{self.prefix}slots:{route}"

    def tasks(self) -> str:
        return f"{self.prefix}tasks"

    def marks(self) -> str:
        return f"{self.prefix}marks"

    def waiting(self, lane: str) -> str:
        return f"{self.prefix}waiting:{lane}"

    def parked(self, route: str) -> str:
        return f"{self.prefix}parked:{route}"

    def stranded(self, route: str) -> str:
        return f"{self.prefix}stranded:{route}"

    def held(self, holder: str) -> str:
        return f"{self.prefix}held:{holder}"

    def turns(self, sharers: str) -> str:
        return f"{self.prefix}turns:{sharers}"

    def result(self, task_id: str) -> str:
        return f"{self.prefix}result:{task_id}"

    def results(self) -> str:
        return f"{self.prefix}results"

    def running(self, route: str) -> str:
        return f"{self.prefix}running:{route}"

    def holders(self, group: str) -> str:
        return f"{self.prefix}holders:{group}"

    def wake(self, lane: str) -> str:
        return f"{self.prefix}wake:{lane}"

    def serving(self, lane: str) -> str:
        return f"{self.prefix}serving:{lane}"

    def places(self) -> str:
        return f"{self.prefix}places"

    def contracts(self) -> str:
        return f"{self.prefix}contracts"

    def unserved(self) -> str:
        return f"{self.prefix}unserved"

    def bell(self, consumer: str) -> str:
        return f"{self.prefix}bell:{consumer}"

    def clock(self, pool: str) -> str:
        return f"{self.prefix}clock:{pool}"

    def inbox(self, process: str) -> str:
        return f"{self.prefix}inbox:{process}"

    def figures(self, route: str) -> str:
        return f"{self.prefix}figures:{route}"

    def routes(self) -> str:
        return f"{self.prefix}routes"

    def lanes(self) -> str:
        return f"{self.prefix}lanes"

    def gateways(self) -> str:
        return f"{self.prefix}gateways"

    def reap(self) -> str:
        return f"{self.prefix}reap"

    def stamp(self) -> str:
        return f"{self.prefix}stamp"

    def dead(self) -> str:
        return f"{self.prefix}dead"


def lane_of(contract: str, kind: str, level: int) -> str:
    """Return the lane of a handler; `kind` is 'a' or 's'."""
    return f"{contract}:{kind}:{level}"


def group_of(lanes: Iterable[str]) -> str:
    """Return the name of the group of processes that serve these lanes; it stands in their claimers' names."""
    return hashlib.blake2b(" ".join(sorted(lanes)).encode(), digest_size=4).hexdigest()


def pool_of(lane: str) -> str:
    """Return the pool of a lane: the lane without its level."""
    return lane.rpartition(":")[0]


def flow_of(route: str, weight: int, tenant: str = "", async_response: bool = False) -> str:
    """Return what is served in turn. `async_response`: nobody waits on a connection; its figures are kept apart.

    A tenant's name comes from outside, so one of another form is replaced by its digest, which no plain name equals.
    """
    if tenant and not _TENANT.fullmatch(tenant):
        tenant = f"={hashlib.blake2b(tenant.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    return f"{route}|{weight}|{tenant}|~" if async_response else f"{route}|{weight}|{tenant}"


def lease_of(consumer: str, serial: int, task_id: str) -> str:
    """Return a lease's name, which is never used twice."""
    return f"{consumer}#{serial}#{task_id}"

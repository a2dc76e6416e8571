"""What each script takes and returns: records, pure builders of calls, total readers of replies.

Owns the order of arguments and replies, which no other module knows: a record's
fields stand in the order of its arguments, and are listed nowhere else. No I/O:
`connection.run` sends a `Call` and hands the raw reply to its `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar

from floodgate.broker.decoding import code_of, list_of, numbers, texts
from floodgate.broker.keys import Keys
from floodgate.broker.scripts import SCRIPTS, Script
from floodgate.errors import DecodeError

MAX_BATCH = 256
"""Tasks per call: a script stops everything else while it runs."""

T = TypeVar("T")
Argument = str | int | float | bytes


class AdmitCode(IntEnum):
    """What `admit` says to one request; `CODE` in `admit.lua` is the same."""

    ADMITTED = 0
    PAUSED = 1
    NO_WORKER = 2
    LATE = 3
    FULL = 4
    SHARE = 5  # the tenant has its share of the slots, or of the turns
    GONE = 6  # the dead letter that it runs again
    JOINED = 7  # from here on by its `Idempotency-Key`: it gets the answer of the one that came before
    ENDED = 8  # its answer is kept: see `idempotency.recall`
    KEY_REUSED = 9  # for another request
    KEY_IN_USE = 10  # by too many
    KEYS_FULL = 11  # no more answers are kept


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of a script, ready to be sent, and the reader of its reply."""

    script: Script
    prefix: str
    args: tuple[Argument, ...]
    read: Callable[[object], T]

    @property
    def evalsha(self) -> tuple[Argument, ...]:
        return ("EVALSHA", self.script.sha, 1, self.prefix, *self.args)


@dataclass(frozen=True, slots=True)
class AdmissionClass:
    """What requests have in common, as far as admission goes; judged once per batch.

    `share`, in thousandths, is how much of the route's limit its priority may fill.
    """

    route: str
    lane: str
    flow: str
    weight: int
    share: int
    budget_ms: int


@dataclass(frozen=True, slots=True)
class AdmitRequest:
    """One request that asks for a slot; `blob` is its packed task."""

    kind: AdmissionClass
    id: str
    deadline_ms: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class AdmitResult:
    """What became of one request."""

    code: AdmitCode
    wait_ms: int  # predicted, of what was admitted; of what joined a task, how long that still has
    remember_ms: int  # for how long to refuse others of the class without asking again
    retry_after_ms: int  # bare: the gateway spreads it over its clients


@dataclass(frozen=True, slots=True)
class AdmitReply:
    """`stale`: the call executed past its `valid_until`, and did nothing."""

    now_ms: int
    stale: bool
    results: tuple[AdmitResult, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that this consumer now holds."""

    id: str
    attempts_used: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """`registered`: on every lane of the call; if not, register before parking."""

    now_ms: int
    registered: bool
    malformed: int
    tasks: tuple[Claimed, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of one run.

    An empty `inbox` or `reply` answers nobody; `in_time`: ended before its deadline, whatever the outcome; `sample`
    says whether `run_ms` counts; `failed`: the handler raised; `streamed`: its head was in time.
    """

    lease: str
    id: str
    route: str
    lane: str
    flow: str
    inbox: str
    budget_ms: int
    run_ms: int
    in_time: bool
    sample: bool
    reply: bytes
    failed: bool = False
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A held task that goes back; `started` makes it an attempt."""

    lease: str
    id: str
    route: str
    started: bool


@dataclass(frozen=True, slots=True)
class BatchReply(Generic[T]):
    """One result per item; of `complete`, whether the lease was there, so that the item counted."""

    now_ms: int
    results: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class RenewReply:
    """`cancelled` leases run for nobody; `joined`: a lane did not know the consumer, or nobody its release."""

    now_ms: int
    joined: bool
    gone: tuple[str, ...]
    cancelled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReapReply:
    """`ran`: false when another process reaped a moment ago; `more`: reap again at once."""

    ran: bool
    ended: int
    expired: int
    orphans: int
    malformed: int
    more: bool


_CLASS, _COMPLETION, _RELEASED = (
    attrgetter(*(field.name for field in fields(record))) for record in (AdmissionClass, Completion, Released)
)
"""The fields of a record in their order, which is that of the script's arguments."""


def _all(read: Callable[[Any], tuple[Any, ...]], records: Sequence[Any]) -> tuple[Argument, ...]:
    if len(records) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} tasks, not {len(records)}")
    return tuple([int(value) if value.__class__ is bool else value for record in records for value in read(record)])


def declare(
    keys: Keys,
    *,
    started_ms: int,
    limits: Mapping[str, tuple[int, int]],
    lanes: Collection[str],
    release: str | None = None,
    digests: Mapping[str, str] = {},
) -> Call[int]:
    """Declare routes and lanes; a worker also its `release` with the digest of each route.

    `limits` is route to `max_concurrency` and `max_running` (0: none). Reads as now_ms.
    """
    listed = " ".join(f"{route}={digest}" for route, digest in sorted(digests.items()))
    routes: list[Argument] = [part for route, (most, running) in limits.items() for part in (route, most, running)]
    args = (started_ms, release or "", listed, len(limits), *routes, *lanes)
    return Call(SCRIPTS["declare"], keys.prefix, args, lambda reply: numbers(reply, 1)[0])


def admit(
    keys: Keys,
    *,
    valid_until_ms: int,
    requests: Sequence[AdmitRequest],
    suppressed: Mapping[str, int] = {},
    letter: str = "",
    keyed: Sequence[tuple[Argument, ...]] = (),
) -> Call[AdmitReply]:
    """Ask for slots. Never send twice. `suppressed`: refusals per route that the gateway made by itself since.

    A `letter` is the dead letter that the only request runs again; it is gone when that is admitted.
    `keyed` has what `idempotency.AdmitKey` renders; requests with a key may be sent again, under their ids.
    """
    if len(requests) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} tasks, not {len(requests)}")
    numbers_of: dict[AdmissionClass, int] = {}
    asked: list[Argument] = []
    for r in requests:
        asked += (numbers_of.setdefault(r.kind, len(numbers_of) + 1), r.deadline_ms, r.id, r.blob)
    left = dict(suppressed)
    args: list[Argument] = [valid_until_ms, len(numbers_of), letter, len(keyed)]
    for kind in numbers_of:
        args += (*_CLASS(kind), left.pop(kind.route, 0))
    for key in keyed:
        args += key
    args += asked

    def read(reply: object) -> AdmitReply:
        now_ms, stale, *given = numbers(reply, 2)
        if not stale and len(given) != 4 * len(requests):
            raise DecodeError("admit answered other requests")
        results = [AdmitResult(code_of(AdmitCode, given[i]), *given[i + 1 : i + 4]) for i in range(0, len(given), 4)]
        return AdmitReply(now_ms, stale == 1, tuple(results))

    return Call(SCRIPTS["admit"], keys.prefix, tuple(args), read)


def claim(
    keys: Keys,
    *,
    valid_until_ms: int,
    consumer: str,
    serial: int,
    free: int,
    lease_ms: int,
    max_bytes: int,
    pool: str,
    lanes: Collection[str],
) -> Call[ClaimReply]:
    """Lease up to `free` tasks of `lanes`, all of them of `pool`."""
    args: tuple[Argument, ...] = (valid_until_ms, consumer, serial, free, lease_ms, max_bytes, pool, *lanes)

    def read(reply: object) -> ClaimReply:
        parts = list_of(reply, 3)
        now_ms, registered, malformed = numbers(parts[:3], 3)
        return ClaimReply(now_ms, registered == 1, malformed, tuple(_claimed(parts[3:])))

    return Call(SCRIPTS["claim"], keys.prefix, args, read)


def complete(keys: Keys, reports: Sequence[Completion]) -> Call[BatchReply[bool]]:
    """End runs with their replies; may be repeated blindly."""
    args = _all(_COMPLETION, reports)

    def read(reply: object) -> BatchReply[bool]:
        now_ms, *held = numbers(reply, 1, len(reports))
        return BatchReply(now_ms, tuple(one == 1 for one in held))

    return Call(SCRIPTS["complete"], keys.prefix, args, read)


def renew(
    keys: Keys,
    *,
    consumer: str,
    register_ms: int,
    lease_ms: int,
    lanes: Collection[str],
    leases: Sequence[tuple[str, str]],
) -> Call[RenewReply]:
    """Register for `register_ms` (0 = leave) and extend `leases`, given as (route, lease)."""
    pairs = [part for pair in leases for part in pair]
    args: tuple[Argument, ...] = (consumer, register_ms, lease_ms, len(lanes), *lanes, *pairs)

    def read(reply: object) -> RenewReply:
        *first, gone, cancelled = list_of(reply, 4, 4)
        now_ms, joined = numbers(first, 2)
        return RenewReply(now_ms, joined == 1, texts(gone), texts(cancelled))

    return Call(SCRIPTS["renew"], keys.prefix, args, read)


def release(keys: Keys, items: Sequence[Released]) -> Call[tuple[bool, ...]]:
    """Give back what a draining worker holds; reads as whether each lease was there."""

    def read(reply: object) -> tuple[bool, ...]:
        return tuple(held == 1 for held in numbers(reply, 0, len(items)))

    return Call(SCRIPTS["release"], keys.prefix, _all(_RELEASED, items), read)


def reclaim(keys: Keys, *, consumer: str, last_serial: int, known: Collection[str]) -> Call[BatchReply[str]]:
    """Take back every lease of `consumer` that is not `known` to it; reads as those."""

    def read(reply: object) -> BatchReply[str]:
        *first, gone = list_of(reply, 2, 2)
        return BatchReply(numbers(first, 1)[0], texts(gone))

    return Call(SCRIPTS["reclaim"], keys.prefix, (consumer, last_serial, *known), read)


def reap(
    keys: Keys,
    *,
    lease_ms: int,
    period_ms: int,
    dead_entries: int = 780,
    dead_bodies: bool = True,
    gateway: str = "",
    batch: int = MAX_BATCH,
) -> Call[ReapReply]:
    """Repair what crashes left; does nothing if somebody did less than `period_ms` ago.

    From then on at most `dead_entries` dead letters are kept, with or without their bodies. In either case the gateway
    process that calls, if it is one, counts as there for a lease: what waits for one that is gone is not started.
    """

    def read(reply: object) -> ReapReply:
        ran, ended, expired, orphans, malformed, more = numbers(reply, 6, 0)
        return ReapReply(ran == 1, ended, expired, orphans, malformed, more == 1)

    args = (lease_ms, period_ms, batch, dead_entries, gateway, int(dead_bodies))
    return Call(SCRIPTS["reap"], keys.prefix, args, read)


def _claimed(parts: Sequence[object]) -> Iterator[Claimed]:
    if len(parts) % 3:
        raise DecodeError("a claim's reply of another length")
    for i in range(0, len(parts), 3):
        id, attempts_used, blob = parts[i : i + 3]
        if not (isinstance(id, bytes) and isinstance(attempts_used, int) and isinstance(blob, bytes)):
            raise DecodeError("a claim's reply with something else for a task")
        yield Claimed(id.decode(errors="replace"), attempts_used, blob)

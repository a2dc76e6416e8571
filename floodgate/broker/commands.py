"""What each script takes and returns: pure builders and total readers.

Owns the order of arguments and replies, which no other module knows. No I/O:
`connection.run` sends a `Call` and hands the raw reply to its `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from floodgate.broker.decoding import claimed, code, list_of, numbers, texts
from floodgate.broker.keys import Keys
from floodgate.broker.lifecycle import AdmitCode, CancelCode, Progress
from floodgate.broker.records import (
    AdmissionClass,
    AdmitReply,
    AdmitRequest,
    AdmitResult,
    CancelReply,
    Claimed,
    ClaimReply,
    CompleteReply,
    Completion,
    JoinReply,
    LookReply,
    ReapReply,
    Released,
    ReleaseReply,
    RenewReply,
)
from floodgate.broker.scripts import SCRIPTS, Script
from floodgate.errors import DecodeError

__all__ = [
    "MAX_BATCH",
    "AdmissionClass",
    "AdmitReply",
    "AdmitRequest",
    "AdmitResult",
    "Call",
    "CancelReply",
    "ClaimReply",
    "Claimed",
    "CompleteReply",
    "Completion",
    "JoinReply",
    "LookReply",
    "ReapReply",
    "ReleaseReply",
    "Released",
    "RenewReply",
    "admit",
    "cancel",
    "claim",
    "complete",
    "declare",
    "drop",
    "join",
    "look",
    "read_contracts",
    "reap",
    "release",
    "renew",
]

MAX_BATCH = 256
"""Tasks per call: a script stops everything else while it runs."""

DEAD_BYTES = 16 << 20
LETTER_BYTES = 21 * 1024
"""What a lost task takes at most: 16 KiB of it (`giveback.lua`), and what Redis adds."""

T = TypeVar("T")
Argument = str | int | float | bytes


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


def declare(
    keys: Keys,
    *,
    started_ms: int,
    limits: Mapping[str, tuple[int, int]],
    lanes: Collection[str],
    contract: str | None = None,
    digests: Mapping[str, str] = {},
) -> Call[int]:
    """Declare routes and lanes; a worker also its `contract` with the digest of each route.

    `limits` is route to `max_concurrency` and `max_running` (0: none). Reads as now_ms.
    """
    listed = " ".join(f"{route}={digest}" for route, digest in sorted(digests.items()))
    routes: list[Argument] = [part for route, (most, running) in limits.items() for part in (route, most, running)]
    args = (started_ms, contract or "", listed, len(limits), *routes, *lanes)
    return Call(SCRIPTS["declare"], keys.prefix, args, lambda reply: numbers(reply, 2)[0])


def admit(
    keys: Keys, *, valid_until_ms: int, requests: Sequence[AdmitRequest], missed: Mapping[str, int] = {}
) -> Call[AdmitReply]:
    """Ask for slots. Never send twice. `missed`: refusals per route that the gateway made by itself since."""
    _limit(requests)
    numbers_of: dict[AdmissionClass, int] = {}
    rest: list[Argument] = []
    for r in requests:
        rest += (numbers_of.setdefault(r.kind, len(numbers_of) + 1), r.deadline_ms, r.id, r.blob)
    left = dict(missed)
    args: list[Argument] = [valid_until_ms, len(numbers_of)]
    for k in numbers_of:
        args += (k.route, k.lane, k.flow, k.weight, k.share, k.budget_ms, left.pop(k.route, 0))
    args += rest

    def read(reply: object) -> AdmitReply:
        now_ms, stale, garbage, *given = numbers(reply, 3)
        if stale:
            return AdmitReply(now_ms, True, (), garbage)
        if len(given) != 4 * len(requests):
            raise DecodeError("admit returned verdicts for other requests")
        results = [AdmitResult(code(AdmitCode, given[i]), *given[i + 1 : i + 4]) for i in range(0, len(given), 4)]
        return AdmitReply(now_ms, False, tuple(results), garbage)

    return Call(SCRIPTS["admit"], keys.prefix, tuple(args), read)


def claim(
    keys: Keys,
    *,
    valid_until_ms: int,
    consumer: str,
    serial: int,
    room: int,
    lease_ms: int,
    max_bytes: int,
    pool: str,
    lanes: Collection[str],
) -> Call[ClaimReply]:
    """Lease up to `room` tasks of `lanes`, all of them of `pool`."""
    args: tuple[Argument, ...] = (valid_until_ms, consumer, serial, room, lease_ms, max_bytes, pool, *lanes)

    def read(reply: object) -> ClaimReply:
        parts = list_of(reply, 3)
        now_ms, registered, garbage = numbers(parts[:3], 3)
        return ClaimReply(now_ms, registered == 1, garbage, tuple(claimed(parts[3:])))

    return Call(SCRIPTS["claim"], keys.prefix, args, read)


def complete(keys: Keys, reports: Sequence[Completion]) -> Call[CompleteReply]:
    """End runs with their replies; may be repeated blindly."""
    _limit(reports)
    args: list[Argument] = []
    for r in reports:
        args += (r.lease, r.id, r.route, r.lane, r.flow, r.inbox, r.budget_ms, r.run_ms)
        args += (int(r.in_time), int(r.sample) * (2 if r.failed else 1), r.reply)

    def read(reply: object) -> CompleteReply:
        now_ms, garbage, *held = numbers(reply, 2, len(reports))
        return CompleteReply(now_ms, tuple(h == 1 for h in held), garbage)

    return Call(SCRIPTS["complete"], keys.prefix, tuple(args), read)


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
    args: tuple[Argument, ...] = (
        consumer,
        register_ms,
        lease_ms,
        len(lanes),
        *lanes,
        *(part for pair in leases for part in pair),
    )

    def read(reply: object) -> RenewReply:
        now_ms, garbage, joined, gone, unwanted = list_of(reply, 5, 5)
        first = numbers([now_ms, garbage, joined], 3)
        return RenewReply(first[0], texts(gone), texts(unwanted), first[2] == 1, first[1])

    return Call(SCRIPTS["renew"], keys.prefix, args, read)


def cancel(keys: Keys, ids: Sequence[str], *, running: bool = True) -> Call[CancelReply]:
    """Say that nobody waits for these tasks any more; without `running`, only those that still wait go."""

    def read(reply: object) -> CancelReply:
        now_ms, garbage, *codes = numbers(reply, 2, len(ids))
        return CancelReply(now_ms, tuple(code(CancelCode, c) for c in codes), garbage)

    return Call(SCRIPTS["cancel"], keys.prefix, (int(running), *ids), read)


def look(keys: Keys, id: str) -> Call[LookReply]:
    """Ask how far a task is that nobody waits for on a connection, and for its result."""

    def read(reply: object) -> LookReply:
        now_ms, progress, result = list_of(reply, 3, 3)
        if not isinstance(result, bytes):
            raise DecodeError("a result of a strange form")
        first = numbers([now_ms, progress], 2)
        return LookReply(first[0], code(Progress, first[1]), result)

    return Call(SCRIPTS["look"], keys.prefix, (id,), read)


def drop(keys: Keys, task_id: str) -> Call[bool]:
    """Drop a kept result; reads as whether it was there."""
    return Call(SCRIPTS["drop"], keys.prefix, (task_id,), lambda reply: numbers(reply, 2, 0)[1] == 1)


def release(keys: Keys, items: Sequence[Released]) -> Call[ReleaseReply]:
    """Give back what a draining worker holds."""
    _limit(items)
    args: list[Argument] = []
    for item in items:
        args += (item.lease, item.id, item.route, int(item.started))

    def read(reply: object) -> ReleaseReply:
        now_ms, garbage, *held = numbers(reply, 2, len(items))
        return ReleaseReply(now_ms, tuple(h == 1 for h in held), garbage)

    return Call(SCRIPTS["release"], keys.prefix, tuple(args), read)


def join(keys: Keys, *, consumer: str, last_serial: int, known: Collection[str]) -> Call[JoinReply]:
    """Give back every lease of `consumer` that is not `known` to it."""

    def read(reply: object) -> JoinReply:
        now_ms, garbage, gone = list_of(reply, 3, 3)
        first = numbers([now_ms, garbage], 2)
        return JoinReply(first[0], texts(gone), first[1])

    return Call(SCRIPTS["reclaim"], keys.prefix, (consumer, last_serial, *known), read)


def reap(
    keys: Keys,
    *,
    lease_ms: int,
    period_ms: int,
    dead_bytes: int = DEAD_BYTES,
    gateway: str = "",
    batch: int = MAX_BATCH,
) -> Call[ReapReply]:
    """Mend what crashes left; does nothing if somebody did less than `period_ms` ago.

    From then on at most `dead_bytes` of lost tasks are kept, the last ones. In either case the gateway process
    that calls, if it is one, counts as there for a lease: what waits for one that is gone is not started.
    """

    def read(reply: object) -> ReapReply:
        now_ms, ran, ended, expired, strays, garbage, more = numbers(reply, 7, 0)
        return ReapReply(now_ms, ran == 1, ended, expired, strays, garbage, more == 1)

    args = (lease_ms, period_ms, batch, max(1, dead_bytes // LETTER_BYTES), gateway)
    return Call(SCRIPTS["reap"], keys.prefix, args, read)


def read_contracts(stored: Mapping[bytes, bytes]) -> dict[str, dict[str, str]]:
    """Read the hash `contracts`: contract → route → digest; what is garbled is left out."""
    return {
        contract.decode(errors="replace"): dict(
            pair.split("=", 1) for pair in text.decode(errors="replace").split(" ") if "=" in pair
        )
        for contract, text in stored.items()
    }


def _limit(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise ValueError(f"a batch has at most {MAX_BATCH} tasks, not {len(batch)}")

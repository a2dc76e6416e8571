"""What goes into the scripts and comes out of them, as records.

Pure data; how they are written into arguments and read from replies stands in
`calls`.
"""

from __future__ import annotations

from dataclasses import dataclass

from floodgate.broker.lifecycle import AdmitCode, CancelCode, Progress


@dataclass(frozen=True, slots=True)
class AdmissionClass:
    """What requests have in common, as far as admission goes; judged once per batch.

    `share`, in thousandths, is how much of the route's room its class may fill.
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
    """What became of one admission."""

    code: AdmitCode
    wait_ms: int
    """Predicted, of what was admitted."""
    remember_ms: int
    """For how long to refuse others of the kind without asking again."""
    retry_after_ms: int
    """Bare: the gateway spreads it over its clients."""


@dataclass(frozen=True, slots=True)
class AdmitReply:
    """`stale`: the call executed past its `valid_until`, and did nothing."""

    now_ms: int
    stale: bool
    results: tuple[AdmitResult, ...]
    garbage: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that this claimer now holds."""

    id: str
    tries_used: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """`registered`: on every lane of the call; if not, register before parking."""

    now_ms: int
    registered: bool
    garbage: int
    tasks: tuple[Claimed, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of one run.

    An empty `inbox` sends no reply; `in_time`: ended before its deadline, whatever the outcome; `sample` says whether
    `run_ms` counts; `failed`: the handler raised.
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


@dataclass(frozen=True, slots=True)
class CompleteReply:
    """`held[i]`: the lease was there, so this completion counted."""

    now_ms: int
    held: tuple[bool, ...]
    garbage: int = 0


@dataclass(frozen=True, slots=True)
class RenewReply:
    """`unwanted` leases are held, but nobody waits for their answers; `joined`: some lane did not know the claimer."""

    now_ms: int
    gone: tuple[str, ...]
    unwanted: tuple[str, ...]
    joined: bool = False
    garbage: int = 0


@dataclass(frozen=True, slots=True)
class CancelReply:
    """One code per id."""

    now_ms: int
    codes: tuple[CancelCode, ...]
    garbage: int = 0


@dataclass(frozen=True, slots=True)
class LookReply:
    """`result` is there when the task has ended."""

    now_ms: int
    progress: Progress
    result: bytes


@dataclass(frozen=True, slots=True)
class Released:
    """A held task that goes back; `started` makes it a try."""

    lease: str
    id: str
    route: str
    started: bool


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """`held[i]`: the lease was there."""

    now_ms: int
    held: tuple[bool, ...]
    garbage: int = 0


@dataclass(frozen=True, slots=True)
class JoinReply:
    """The leases that went back."""

    now_ms: int
    gone: tuple[str, ...]
    garbage: int = 0


@dataclass(frozen=True, slots=True)
class ReapReply:
    """`ran`: false when another process reaped a moment ago; `more`: reap again at once."""

    now_ms: int
    ran: bool
    ended: int
    expired: int
    strays: int
    garbage: int
    more: bool

"""Tells a handler about its run and its caller.

Owns the flag that tells a sync handler that nobody waits any more. Must not know
queues: the worker makes one per run, and a user's test makes its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as `identify` in the gateway found out.

    `id` stands in log lines, so it must be no secret. `claims` are JSON values
    under text keys; they travel to the worker and are logged nowhere.
    """

    id: str
    claims: Mapping[str, Any] = field(default_factory=dict)


class Context:
    """One run of one handler, given to a parameter that is annotated `Context`.

    >>> Context("a-test", timeout_s=5).attempt
    1
    """

    __slots__ = ("_ends_s", "_stopped", "attempt", "caller", "request_id")

    def __init__(self, request_id: str, attempt: int = 1, timeout_s: float = 10, caller: Caller | None = None) -> None:
        self.request_id = request_id
        self.attempt = attempt
        self.caller = caller
        self._ends_s = time.monotonic() + timeout_s
        self._stopped = False  # set once and never reset, so threads need no lock

    @property
    def seconds_left(self) -> float:
        """Return the seconds until nobody waits for the answer any more, at least 0."""
        return max(0.0, self._ends_s - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Tell whether to stop early: the client left, or the time is used up.

        An async handler is cancelled instead; a sync one cannot be, so it looks here.
        """
        return self._stopped or self.seconds_left == 0

    def extend(self, seconds: float) -> None:
        """Let the time end so many seconds from now; called by the worker when a stream has begun."""
        self._ends_s = time.monotonic() + seconds

    def cancel(self) -> None:
        """Set the flag; called by the worker, in any thread."""
        self._stopped = True

"""What a handler may know about the run it is in, and about who asks.

Owns the flag by which a sync handler learns that nobody waits any more. Knows
nothing of queues: it is built by the worker, and by hand in a user's tests.
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
    """One run of one handler; ask for it with a parameter annotated `Context`.

    >>> Context("a-test", timeout_s=5).attempt
    1
    """

    __slots__ = ("_ends_s", "_stopped", "attempt", "caller", "request_id")

    def __init__(self, request_id: str, attempt: int = 1, timeout_s: float = 10, caller: Caller | None = None) -> None:
        self.request_id = request_id
        self.attempt = attempt
        self.caller = caller
        self._ends_s = time.monotonic() + timeout_s
        self._stopped = False  # one word, written once: threads need no lock for it

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

    def cancel(self) -> None:
        """Raise the flag; called by the worker, from any thread."""
        self._stopped = True

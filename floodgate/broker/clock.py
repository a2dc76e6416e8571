"""Estimates the time of Redis in this process; never ahead of the server.

Every deadline of the queue and every `valid_until` is in this time, so that a call that
executes late, on a frozen server or from a dead socket, does nothing. Pure: whoever
receives a reply says when, and the monotonic clock is passed in.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_REPLIES = 16
"""So many replies vote; with fewer a slow network counts more, with more a step of Redis's clock stays longer."""


class RedisClock:
    """Takes the greatest of the last offsets.

    A reply says what the time was when it left the server, so each offset is too small by the
    time that the reply travelled: the greatest is nearest, and none is ahead.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offsets: deque[float] = deque(maxlen=_REPLIES)
        self._offset: float | None = None

    @property
    def known(self) -> bool:
        """Tell whether any reply has been seen."""
        return self._offset is not None

    def observe(self, now_ms: int, received_s: float | None = None) -> None:
        """Take a script's `now_ms`, received at `received_s` of the monotonic clock (default: this moment)."""
        received = self._monotonic() if received_s is None else received_s
        self._offsets.append(now_ms - received * 1000)
        self._offset = max(self._offsets)

    def now_ms(self) -> int:
        """Return the estimate; raises `LookupError` before the first reply."""
        return self.at_ms(self._monotonic())

    def at_ms(self, monotonic_s: float) -> int:
        """Return Redis's time at a moment of the own clock; raises `LookupError` as `now_ms`."""
        if self._offset is None:
            raise LookupError("no reply of Redis has told the time yet")
        return int(monotonic_s * 1000 + self._offset)

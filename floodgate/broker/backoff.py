"""How long to wait before trying a lost Redis again. Pure: it only draws numbers."""

from __future__ import annotations

import random


class Backoff:
    """Full jitter, doubling: a fleet that lost Redis together does not return together."""

    FIRST_S = 0.05
    MOST_S = 1.0

    def __init__(self) -> None:
        self._bound_s = self.FIRST_S

    def next_s(self) -> float:
        """Return the seconds to wait now; the bound doubles up to `MOST_S`."""
        wait_s = random.uniform(self._bound_s / 2, self._bound_s)
        self._bound_s = min(self._bound_s * 2, self.MOST_S)
        return wait_s

    def reset(self) -> None:
        self._bound_s = self.FIRST_S

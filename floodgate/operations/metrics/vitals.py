"""What every process measures of itself: how late its loop is, its processor time, whether it is ready.

Also the pulse by which figures that are kept elsewhere reach the ledger, so that
siblings have them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from floodgate.operations.metrics.families import CPU_SECONDS, LOOP_LAG, PROCESSES, READY
from floodgate.operations.metrics.ledger import Ledger

PERIOD_S = 0.25
"""A loop that is blocked for longer is seen for sure."""


class Vitals:
    """Of one process. `take` is called with every beat: it writes down what changes by itself."""

    def __init__(self, ledger: Ledger, is_ready: Callable[[], bool], take: Callable[[], None]) -> None:
        self._processes = ledger.gauge(PROCESSES)
        self._ready = ledger.gauge(READY)
        self._cpu = ledger.counter(CPU_SECONDS)
        self._lag = ledger.histogram(LOOP_LAG)
        self._is_ready = is_ready
        self._take = take

    def beat(self) -> None:
        """Write down how this process is, now."""
        self._processes.set(1)
        self._ready.set(self._is_ready())
        self._cpu.reach(time.process_time())
        self._take()

    async def beat_forever(self) -> None:
        """Beat until cancelled, and note how late each beat comes."""
        while True:
            self.beat()
            due_s = time.monotonic() + PERIOD_S  # uvloop's own clock stands still within a turn
            await asyncio.sleep(PERIOD_S)
            self._lag.observe(max(0.0, time.monotonic() - due_s))

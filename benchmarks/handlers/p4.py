"""Profile P4: a plain function that computes for 20 ms of processor time."""

from __future__ import annotations

import time

from benchmarks.notes import noted
from shared import Context, queued

SERVICE_S = 0.02
TURN = 300
"""Numbers added between two looks at the clock: some microseconds."""


@queued("/gate", max_concurrency=1000, timeout_s=2)
def gate(ctx: Context) -> bool:
    with noted(ctx):
        end_s = time.thread_time() + SERVICE_S
        while time.thread_time() < end_s:
            sum(range(TURN))
    return True

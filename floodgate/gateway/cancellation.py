"""Takes back what nobody waits for any more, in batches: one `cancel` at a time per process."""

from __future__ import annotations

import asyncio
import time

from floodgate.broker.cancellation import cancel
from floodgate.broker.commands import MAX_BATCH
from floodgate.broker.connection import run
from floodgate.errors import FloodgateError
from floodgate.gateway.context import GatewayContext


class CancelBatcher:
    """Takes admitted tasks that nobody waits for out of the queue."""

    def __init__(self, context: GatewayContext) -> None:
        self._context = context
        self._ids: list[str] = []
        self._some = asyncio.Event()

    def submit(self, task_id: str) -> None:
        """Cancel this task with the next batch."""
        self._ids.append(task_id)
        self._some.set()

    async def run(self) -> None:
        """Cancel for ever; ends by cancellation. What could not be cancelled ends at its deadline."""
        while True:
            await self._some.wait()
            batch, self._ids = self._ids[:MAX_BATCH], self._ids[MAX_BATCH:]
            if not self._ids:
                self._some.clear()
            sent_s, meter = time.monotonic(), self._context.metrics.cancels
            try:
                await run(self._context.client, cancel(self._context.keys, batch))
            except FloodgateError:
                meter.failed()
            else:
                meter.answered(time.monotonic() - sent_s, len(batch))

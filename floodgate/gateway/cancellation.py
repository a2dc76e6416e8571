"""Takes back what nobody waits for any more, in batches: one `cancel` at a time per process."""

from __future__ import annotations

import asyncio
import time

from floodgate.broker.cancellation import cancel
from floodgate.broker.commands import MAX_BATCH
from floodgate.broker.connection import Client, run
from floodgate.broker.keys import Keys
from floodgate.errors import FloodgateError
from floodgate.gateway.metrics import GatewayMetrics


class CancelBatcher:
    """Takes admitted tasks that nobody waits for out of the queue."""

    def __init__(self, client: Client, keys: Keys, metrics: GatewayMetrics) -> None:
        self._client = client
        self._keys = keys
        self._metrics = metrics
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
            sent_s = time.monotonic()
            try:
                await run(self._client, cancel(self._keys, batch))
            except FloodgateError:
                self._metrics.cancels.failed()
            else:
                self._metrics.cancels.answered(time.monotonic() - sent_s, len(batch))

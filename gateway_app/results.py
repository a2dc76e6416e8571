"""Where the answer of a 202 is fetched: the state of a task, its result, and its end by DELETE.

Whoever knows the id may do all three; it cannot be guessed. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway_app.answers import Answer, Trouble
from shared.errors import Garbled
from shared.queue.connection import Client, run, translated
from shared.queue.keys import Keys
from shared.queue.lifecycle import CancelCode, Progress
from shared.queue.messages import Outcome, unpack_reply
from shared.queue.scripts.calls import cancel, look

CALL_S = 2.0
AT_ONCE = 16
"""Of the connections that the whole gateway shares: anybody may ask, and as often as they like."""
_ID = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{32}")
_TROUBLES = {Outcome.FAILED: Trouble.FAILED, Outcome.EXPIRED: Trouble.LATE, Outcome.LOST: Trouble.LOST}

_STATES = {Progress.UNKNOWN: None, Progress.WAITING: "waiting", Progress.RUNNING: "running"}


class Results:
    """Looks at tasks that nobody waits for on a connection."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def find(self, task_id: str) -> Answer | str | None:
        """Return the answer, or `waiting` or `running`, or None for what is not known (any more).

        Raises `FloodgateError`.
        """
        if not _ID.fullmatch(task_id):
            return None
        async with self._turn():
            found = await run(self._client, look(self._keys, task_id))
        return _answer(found.result) if found.progress is Progress.ENDED else _STATES[found.progress]

    async def end(self, task_id: str) -> bool:
        """Cancel the task or drop its result; False when neither is there. Raises `FloodgateError`."""
        if not _ID.fullmatch(task_id):
            return False
        async with self._turn():
            (code,) = (await run(self._client, cancel(self._keys, [task_id]))).codes
        async with self._turn():
            dropped: int = await self._client.delete(self._keys.result(task_id))
        return code is not CancelCode.UNKNOWN or dropped == 1

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with translated():
            async with asyncio.timeout(CALL_S), self._turns:
                yield


def _answer(stored: bytes) -> Answer | None:
    try:
        reply = unpack_reply(stored)
    except Garbled:
        return None
    return Answer(reply=reply, trouble=_TROUBLES.get(reply.outcome))

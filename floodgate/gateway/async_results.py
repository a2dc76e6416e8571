"""`/tasks/{id}`: where the client of a 202 asks for the state, fetches the result, or ends the task.

Whoever knows the id may do all three; it cannot be guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from floodgate.broker.cancellation import CancelCode, CancelMode, cancel
from floodgate.broker.connection import Client, redis_errors, run
from floodgate.broker.envelopes import unpack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.results import Progress, discard, poll
from floodgate.declare.registry import Registry
from floodgate.errors import DecodeError, FloodgateError, Unavailable
from floodgate.gateway.middleware import record_of
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome
from floodgate.gateway.rate_limit import RateLimiter
from floodgate.gateway.responses import pending, respond, unknown_task

CALL_S = 2.0
LOOK_S = 1.0
UNKNOWN_BYTES = 64 << 20
"""May be kept where Redis has no limit of memory, or does not tell it."""
AT_ONCE = 16
"""Of the connections that the whole gateway shares: anybody may ask, and as often as they like."""
_ID = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{32}(\.[0-9a-f]{32})?")


class AsyncResults:
    """Finds, ends and counts tasks that nobody waits for on a connection."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def find(self, task_id: str) -> Outcome | str | None:
        """Return the answer, or `waiting` or `running`, or None for what is not known (any more).

        Raises `FloodgateError`.
        """
        if not _ID.fullmatch(task_id):
            return None
        async with self._turn():
            found = await run(self._client, poll(self._keys, task_id))
        if found.progress is not Progress.ENDED:
            return None if found.progress is Progress.UNKNOWN else found.progress.name.lower()
        try:
            reply = unpack_reply(found.result)
        except DecodeError:
            return None
        return Outcome(reply=reply, failure=FAILURE_OF.get(reply.outcome))

    async def end(self, task_id: str) -> bool:
        """Cancel the task or drop its result; False when neither is there. Raises `FloodgateError`."""
        if not _ID.fullmatch(task_id):
            return False
        async with self._turn():
            # In this order: a task that ends between the two calls leaves a result, which the second one drops.
            (code,) = await run(self._client, cancel(self._keys, [task_id], CancelMode.END))
            dropped = await run(self._client, discard(self._keys, task_id))
        return code is not CancelCode.UNKNOWN or dropped

    async def are_full(self, most_bytes: int | None, sums: str = "") -> bool:
        """Tell whether more than that is kept, of results or of what else `sums` has the bytes.

        None: a quarter of Redis's memory. Raises `Unavailable`.
        """
        async with self._turn(), self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(sums or self._keys.results())
            if most_bytes is None:
                pipe.info("memory")
            time_of, by_minute, *memory = await pipe.execute(raise_on_error=False)
        if most_bytes is None:
            of_redis = memory[0].get("maxmemory", 0) if isinstance(memory[0], dict) else 0  # ACLs may forbid INFO
            most_bytes = of_redis // 4 or UNKNOWN_BYTES
        if not (isinstance(time_of, tuple) and isinstance(by_minute, dict)):
            raise Unavailable("Redis does not tell what is kept")
        kept = sum(int(size) for minute, size in by_minute.items() if int(minute) * 60 > time_of[0])
        return kept > most_bytes

    async def watch_forever(self, rate_limiter: RateLimiter, most_bytes: int | None) -> None:
        """Look once a second whether more results may be kept; ends by cancellation."""
        while True:
            with contextlib.suppress(FloodgateError, ValueError):  # malformed sizes are deleted by the scripts
                rate_limiter.results_full = await self.are_full(most_bytes)
            await asyncio.sleep(LOOK_S)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with redis_errors():
            async with asyncio.timeout(CALL_S), self._turns:
                yield


def add_task_routes(app: FastAPI, registry: Registry) -> None:
    """Add the two routes, if a handler may be asked without waiting."""
    if any(handler.admission.async_timeout_s is not None for handler in registry.handlers):
        app.add_api_route("/tasks/{task_id}", _find, methods=["GET"], name="task", tags=["tasks"])
        app.add_api_route(
            "/tasks/{task_id}", _end, methods=["DELETE"], name="end_task", tags=["tasks"], status_code=204
        )


async def _find(request: Request, task_id: str) -> Response:
    """Return the handler's answer once it is there, until then 202 with the state; 404 when neither is known."""
    record = record_of(request.scope)
    try:
        found = await request.app.started_engine.results.find(task_id)
    except FloodgateError:
        return respond(Outcome(failure=Failure.UNAVAILABLE), record.request_id)
    if found is None:
        return unknown_task(record.request_id)
    if isinstance(found, str):
        return pending(task_id, found, record.request_id, request.scope.get("root_path", ""))
    record.note(found)
    return respond(found, record.request_id)


async def _end(request: Request, task_id: str) -> Response:
    """Cancel the task, or drop its result: 204; 404 when neither is there."""
    record = record_of(request.scope)
    try:
        ended = await request.app.started_engine.results.end(task_id)
    except FloodgateError:
        return respond(Outcome(failure=Failure.UNAVAILABLE), record.request_id)
    return Response(status_code=204) if ended else unknown_task(record.request_id)

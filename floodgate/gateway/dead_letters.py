"""Dead letters, for operators: list, show, retry and discard what was lost after its last attempt.

A retry goes through admission as any request does, under a new id, deadline and lane,
and its answer is kept like that of a 202. Must not know HTTP: the pages and commands
that call this turn what it returns and raises into theirs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from floodgate.broker.commands import AdmissionClass, AdmitCode, AdmitRequest, AdmitResult, Call, admit
from floodgate.broker.connection import run
from floodgate.broker.dead_letters import StoredLetter, discard_letter, read_letter, read_letters
from floodgate.broker.envelopes import Task, pack_task
from floodgate.broker.keys import Keys, async_flow_of
from floodgate.declare.head import SHARES, UNDECLARED_SHARE, UNDECLARED_WEIGHT, WEIGHTS
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError, StoreFull
from floodgate.gateway.admission import VALID_S
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome
from floodgate.gateway.worker_directory import WorkerDirectory

T = TypeVar("T")

AT_ONCE = 4
"""Of the connections that the whole gateway shares."""
PAGE = 50


class NoSuchLetter(FloodgateError):
    """There is no such letter: it was retried or discarded, its time is over, or there never was one."""


class NotRetryable(FloodgateError):
    """The letter cannot be run again; the text says why, and the letter stays."""


class DeadLetter(BaseModel):
    """A task that was lost after its last attempt. Only `show` gives query, headers and body; nothing gives claims."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64")

    error_id: str
    """What `show`, `retry` and `discard` take."""
    lost_at_s: float
    """In the time of Redis, since 1970."""
    task_id: str
    route: str
    """Method and path, or the digest of a route that this release does not have."""
    request_id: str
    caller: str | None
    path: dict[str, str]
    attempts: int
    workers: Sequence[str]
    """The consumers that were lost with it; their name is in the log of their process."""
    size_bytes: int
    """Of the whole task, as it was."""
    not_retryable: str | None
    """Why it cannot be retried, or None."""
    query: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


class Page(BaseModel):
    """The newest letters, or those before the last one of another page; `count` is of all that are kept."""

    count: int
    letters: Sequence[DeadLetter]


class DeadLetters:
    """The dead letters of one namespace, as one gateway process sees them."""

    def __init__(
        self,
        context: GatewayContext,
        directory: WorkerDirectory,
    ) -> None:
        self._client = context.client
        self._keys = context.keys
        self._clock = context.clock
        self._directory = directory
        self._release = context.registry.release_digest
        self._handlers = {handler.route: handler for handler in context.registry.handlers}
        self._rate_limiter = context.rate_limiter
        self._result_ttl_s = context.settings.result_ttl_s
        self._metrics = context.metrics
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def list(self, *, before: str = "", most: int = PAGE) -> Page:
        """Return the newest, or those before an error id; raises `ValueError` for what is none, `Unavailable`."""
        async with self._turns:
            found = await run(self._client, read_letters(self._keys, before=before, most=most))
        return Page(count=found.count, letters=[self._shown(letter) for letter in found.page])

    async def show(self, error_id: str) -> DeadLetter:
        """Return one with all that is kept of it; raises `NoSuchLetter`, `Unavailable`."""
        letter = await self._find(error_id)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in letter.headers]
        more = {"query": letter.query, "headers": headers, "body": letter.body}
        return self._shown(letter).model_copy(update=more)

    async def retry(self, error_id: str) -> Outcome:
        """Run one again: `accepted` is the id under which its answer is kept, `failure` why it was refused.

        A refused letter stays. Raises `NoSuchLetter`; `NotRetryable` with the reason; `Unavailable` where Redis did
        not answer: then it was admitted if the letter is gone.
        """
        letter = await self._find(error_id)
        handler, task = self._retryable(letter)
        meter = self._metrics.of(handler)
        outcome = self._rate_limiter.over_rate(handler.route)
        if outcome is None and self._rate_limiter.results_full:
            outcome = Outcome(failure=Failure.RESULTS_FULL)
        by_memory = outcome is not None
        if outcome is None:
            outcome = await self._admit(handler, task, letter.entry)
        meter.offered()
        meter.settled(outcome.outcome, by_memory, 0, 0)
        if outcome.accepted:
            self._metrics.admitted(handler)
        return outcome

    async def discard(self, error_id: str) -> None:
        """Delete one; raises `NoSuchLetter`, `Unavailable`."""
        if not await self._run(discard_letter, error_id):
            raise NoSuchLetter(error_id)

    async def _find(self, error_id: str) -> StoredLetter:
        found = await self._run(read_letter, error_id)
        if not found.page:
            raise NoSuchLetter(error_id)
        return found.page[0]

    async def _run(self, about: Callable[[Keys, str], Call[T]], error_id: str) -> T:
        try:
            call = about(self._keys, error_id)
        except ValueError:
            raise NoSuchLetter(error_id) from None
        async with self._turns:
            return await run(self._client, call)

    async def _admit(self, handler: Handler, task: Task, entry: str) -> Outcome:
        request = self._request(handler, task)
        valid_until_ms = self._clock.now_ms() + round(VALID_S * 1000)
        call = admit(self._keys, valid_until_ms=valid_until_ms, requests=[request], letter=entry)
        try:
            async with self._turns:
                reply = await run(self._client, call)
        except StoreFull:
            return Outcome(failure=Failure.UNAVAILABLE)
        if reply.stale:
            return Outcome(failure=Failure.UNAVAILABLE)
        (result,) = reply.results
        return _outcome(result, request.id, entry)

    def _request(self, handler: Handler, task: Task) -> AdmitRequest:
        """Return the task as it is admitted now: its arguments and caller are those of then, all else is new."""
        budget_s = handler.admission.async_timeout_s or handler.timeout_s
        weight, share = _weight_and_share(handler, task.weight)
        flow = async_flow_of(task.flow if handler.admission.tenant else "", handler.route, weight)
        lane = self._directory.lane(handler, _level(handler, task.lane))
        budget_ms = round(budget_s * 1000)
        deadline_ms = self._clock.at_ms(time.monotonic() + budget_s)
        again = dataclasses.replace(
            task,
            deadline_ms=deadline_ms,
            lane=lane,
            inbox=f"={self._result_ttl_s}=",
            attempts=handler.attempts,
            flow=flow,
            weight=weight,
            budget_ms=budget_ms,
        )
        kind = AdmissionClass(handler.route, lane, flow, weight, share, budget_ms)
        # Whoever knows it may fetch the result, as with any 202.
        return AdmitRequest(kind, f"{handler.route}.{secrets.token_hex(16)}", deadline_ms, pack_task(again))

    def _retryable(self, letter: StoredLetter) -> tuple[Handler, Task]:
        """Return what runs it, and with what; raises `NotRetryable`."""
        handler = self._handlers.get(letter.route)
        if handler is None:
            raise NotRetryable(f"this release has no route {letter.route}")
        if letter.cut:
            raise NotRetryable(f"{handler.label}: not all of it was kept ({letter.size_bytes} bytes)")
        if letter.task is None:
            raise NotRetryable(f"{handler.label}: it cannot be read")
        own = letter.task.lane.partition(":")[0] == self._release
        if not own and letter.signature != handler.signature_digest:
            raise NotRetryable(f"{handler.label}: its parameters or its result have changed since")
        return handler, letter.task

    def _shown(self, letter: StoredLetter) -> DeadLetter:
        handler, reason = self._handlers.get(letter.route), None
        try:
            self._retryable(letter)
        except NotRetryable as error:
            reason = str(error)
        return DeadLetter(
            error_id=letter.entry,
            lost_at_s=letter.lost_at_ms / 1000,
            task_id=letter.task_id,
            route=letter.route if handler is None else handler.label,
            request_id=letter.request_id,
            caller=letter.caller,
            path=letter.path,
            attempts=letter.attempts,
            workers=letter.workers,
            size_bytes=letter.size_bytes,
            not_retryable=reason,
        )


def _outcome(result: AdmitResult, task_id: str, entry: str) -> Outcome:
    if result.code is AdmitCode.ADMITTED:
        return Outcome(accepted=task_id, predicted_ms=result.wait_ms)
    if result.code is AdmitCode.GONE:
        raise NoSuchLetter(entry)
    return Outcome(failure=FAILURE_OF[result.code], retry_after_s=result.retry_after_ms / 1000)


def _weight_and_share(handler: Handler, weight: int) -> tuple[int, int]:
    """Return those of the class that the task had, if there is such a class, and of the default one otherwise."""
    if handler.admission.priority is None:
        return UNDECLARED_WEIGHT, UNDECLARED_SHARE
    name = next((name for name, known in WEIGHTS.items() if known == weight), "default")
    return WEIGHTS[name], SHARES[name]


def _level(handler: Handler, lane: str) -> int:
    """Return the level that stands in the lane's name, or the highest where it is none of the handler's."""
    level = lane.rpartition(":")[2]
    return int(level) if level in map(str, handler.levels) else max(handler.levels)

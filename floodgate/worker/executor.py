"""Runs handlers: async ones on the event loop, sync ones in threads.

Owns the concurrency of one consumer and the phases of a run. Whatever a handler
returns or raises, exactly one end is handed to the completions, unless the task was
released. Must not know Redis: leases are names to it.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from floodgate.broker.envelopes import StreamReply, Task, TaskOutcome, TaskReply
from floodgate.declare.context import Caller, Context
from floodgate.declare.registry import ExecutorKind
from floodgate.errors import HTTPError
from floodgate.operations.logs import fields
from floodgate.worker.arguments import HandlerCall
from floodgate.worker.serialization import SerializedResult, serialize_error
from floodgate.worker.thread_pool import ThreadPool

log = logging.getLogger("floodgate.worker")

NO_RESULT = SerializedResult(0, (), b"")


class Phase(Enum):
    """How far a run is; what is reported at its end follows from this alone."""

    CREATED = auto()
    """Its handler was not called yet."""
    RUNNING = auto()
    """Whatever the handler returns or raises is the answer."""
    EXPIRED = auto()
    """Its deadline has passed: reported as expired, whatever the handler still returns."""
    STOPPED = auto()
    """Nobody waits any more: reported without an answer, and no sample of how long the route takes."""
    RELEASED = auto()
    """Its task was returned to the queue: nothing is reported."""


class Event(Enum):
    """What moves a run from one phase to the next."""

    BEGIN = auto()
    DEADLINE = auto()
    STOP = auto()
    RELEASE = auto()


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.CREATED, Event.BEGIN): Phase.RUNNING,
    (Phase.CREATED, Event.DEADLINE): Phase.EXPIRED,
    (Phase.CREATED, Event.STOP): Phase.STOPPED,
    (Phase.CREATED, Event.RELEASE): Phase.RELEASED,
    (Phase.RUNNING, Event.DEADLINE): Phase.EXPIRED,
    (Phase.RUNNING, Event.STOP): Phase.STOPPED,
    (Phase.RUNNING, Event.RELEASE): Phase.RELEASED,
    (Phase.EXPIRED, Event.STOP): Phase.STOPPED,
    (Phase.EXPIRED, Event.RELEASE): Phase.RELEASED,
    (Phase.STOPPED, Event.RELEASE): Phase.RELEASED,
}
"""The specification of how a run may end: a pair that is not here changes nothing, and no phase leads back."""


class StreamEnd(Protocol):
    """What a run has yielded, as far as its end is concerned."""

    started: bool

    def end(self, outcome: TaskOutcome, wait_ms: int, run_ms: int) -> StreamReply: ...


@dataclass(slots=True)
class Run:
    """One task while its handler runs."""

    lease: str
    task_id: str
    task: Task
    context: Context
    left_s: float
    """Seconds until the deadline, at the start."""
    work: asyncio.Task[None] | None = None
    phase: Phase = Phase.CREATED
    started_s: float = field(default_factory=time.monotonic)
    timer: asyncio.TimerHandle | None = None
    """Goes off at the deadline."""
    stream: StreamEnd | None = None
    """Of a handler that yields."""
    extended: bool = False
    """Its stream has begun, so its deadline is that of the whole."""

    def move(self, event: Event) -> bool:
        """Make a transition; tell whether the handler is running and has to be cancelled now.

        True at most once per run: a second cancellation would cut the handler's clean-up short.
        """
        before = self.phase
        self.phase = TRANSITIONS.get((before, event), before)
        if event is not Event.BEGIN:
            self.context.cancel()
        return before is Phase.RUNNING and self.phase is not before


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended, with the reply that the client gets."""

    run: Run
    reply: TaskReply
    in_time: bool


class Completions(Protocol):
    """Takes every run that has ended, in the event loop."""

    def add(self, ended: Ended) -> None: ...


class Streams(Protocol):
    """Runs handlers that yield."""

    async def run_stream(self, executor: Executor, call: HandlerCall, run: Run, arguments: dict[str, Any]) -> None: ...


class Executor:
    """Runs up to `concurrency` handlers of one kind at once."""

    def __init__(
        self,
        kind: ExecutorKind,
        concurrency: int,
        calls: Mapping[str, HandlerCall],
        max_result_bytes: int,
        completions: Completions,
        streams: Streams | None = None,
    ) -> None:
        self.kind = kind
        self.concurrency = concurrency
        self.calls = calls
        """Route to what is called for its tasks."""
        self.runs: dict[str, Run] = {}
        """By lease, until the handler has ended."""
        self.freed = asyncio.Event()
        """Set whenever a run ends."""
        self._loop = asyncio.get_running_loop()
        self._max_result_bytes = max_result_bytes
        self._completions = completions
        self._streams = streams
        self.threads = ThreadPool(concurrency) if kind == "s" else None

    @property
    def free(self) -> int:
        """Return how many more tasks can be started now."""
        return self.concurrency - len(self.runs)

    @property
    def overdue(self) -> int:
        """Return how many runs are past their deadline: threads that hang, for the most part."""
        return sum(run.context.seconds_left == 0 for run in self.runs.values())

    @property
    def stuck(self) -> bool:
        """Tell whether nothing can be started, and nobody waits for anything that runs."""
        return self.free == 0 and self.overdue == self.concurrency

    def start(self, lease: str, task_id: str, task: Task, attempts_used: int, left_s: float) -> None:
        """Begin a run; called only while `free` is above 0."""
        caller = None if task.caller is None else Caller(task.caller, task.claims)
        run = Run(lease, task_id, task, Context(task.request_id, attempts_used + 1, left_s, caller), left_s)
        self.runs[lease] = run
        run.work = self._loop.create_task(self._run(run))

    def stop(self, lease: str) -> bool:
        """End the run of a lease, since nobody waits for its answer; False if it has ended or was stopped before."""
        run = self.runs.get(lease)
        if run is None or run.phase in (Phase.STOPPED, Phase.RELEASED):
            return False
        self._move(run, Event.STOP)
        return True

    def stop_task(self, task_id: str) -> None:
        """End the runs of a task, under whatever leases."""
        for lease in [lease for lease, run in self.runs.items() if run.task_id == task_id]:
            self.stop(lease)

    def release(self) -> list[Run]:
        """End all runs without a report, and return them; their handlers may still clean up."""
        runs = list(self.runs.values())
        for run in runs:
            self._move(run, Event.RELEASE)
        return runs

    def extend(self, run: Run) -> None:
        """Give a run whose stream has begun until the end of the whole stream."""
        run.extended = True
        more_s = (run.task.stream_until_ms - run.task.deadline_ms) / 1000
        if run.timer is not None and more_s > 0 and run.phase is Phase.RUNNING:
            run.timer.cancel()
            left_s = run.started_s + run.left_s + more_s - time.monotonic()
            run.context.extend(left_s)
            run.timer = self._loop.call_later(left_s, self._move, run, Event.DEADLINE)

    async def idle(self) -> None:
        """Return when nothing runs any more."""
        while self.runs:
            self.freed.clear()
            await self.freed.wait()

    def close(self) -> None:
        if self.threads is not None:
            self.threads.close()

    def _move(self, run: Run, event: Event) -> None:
        # A thread cannot be cancelled: a sync handler reads the flag of its `Context`, which `move` has set.
        if run.move(event) and self.kind == "a" and run.work is not None:
            run.work.cancel()

    async def _run(self, run: Run) -> None:
        outcome, result = TaskOutcome.FAILED, NO_RESULT
        run.timer = self._loop.call_later(run.left_s, self._move, run, Event.DEADLINE)
        # What has expired in the queue is never started: the client has its 504 already.
        self._move(run, Event.BEGIN if run.left_s > 0 else Event.DEADLINE)
        try:
            if run.phase is Phase.RUNNING:
                result = await self._result(run)
                outcome = TaskOutcome.DONE
        except BaseException as error:  # a handler may raise anything, SystemExit and CancelledError too
            by_deadline = isinstance(error, asyncio.CancelledError) and run.phase is Phase.EXPIRED
            if run.phase in (Phase.RUNNING, Phase.EXPIRED) and not by_deadline:
                label = self.calls[run.task.route].handler.label
                log.error("handler failed", exc_info=error, extra=fields(request_id=run.task.request_id, route=label))
        finally:
            run.timer.cancel()
            del self.runs[run.lease]
            self.freed.set()
            if run.context.cancelled:  # the timer may be late in a busy loop; the context reads the clock
                run.move(Event.DEADLINE)
            if run.phase is not Phase.RUNNING:
                outcome, result = TaskOutcome.EXPIRED, NO_RESULT
            if run.phase is not Phase.RELEASED:
                self._complete(run, outcome, result)

    def _complete(self, run: Run, outcome: TaskOutcome, result: SerializedResult) -> None:
        run_ms = round((time.monotonic() - run.started_s) * 1000)
        wait_ms = max(0, round(run.task.budget_ms - run.left_s * 1000))
        reply = (
            TaskReply(run.task_id, outcome, result.status, result.headers, result.body, wait_ms, run_ms)
            if run.stream is None or not run.stream.started
            else run.stream.end(outcome, wait_ms, run_ms)
        )
        in_time = outcome is not TaskOutcome.EXPIRED and run.context.seconds_left > 0
        self._completions.add(Ended(run, reply, in_time))

    async def _result(self, run: Run) -> SerializedResult:
        try:
            result = await self._call(self.calls[run.task.route], run)
        except (HTTPError, HTTPException, RequestValidationError) as error:
            return serialize_error(error)
        if len(result.body) > self._max_result_bytes:
            raise ValueError(
                f"the result has {len(result.body)} bytes, FLOODGATE_MAX_RESULT_BYTES allows {self._max_result_bytes}"
            )
        return result

    async def _call(self, call: HandlerCall, run: Run) -> SerializedResult:
        arguments = await call.arguments(run.task)
        if call.handler.context_name is not None:
            arguments[call.handler.context_name] = run.context
        # Each asyncio task has a copy of the context, but the decimal context in it is one object until it is replaced.
        decimal.setcontext(decimal.getcontext().copy())
        if call.encoder is not None:
            assert self._streams is not None
            await self._streams.run_stream(self, call, run, arguments)
            return NO_RESULT
        if self.threads is None:
            result = await call.handler.function(**arguments)
            return NO_RESULT if run.context.cancelled else call.serialize(result)
        own = contextvars.copy_context()  # a thread has one of its own, which would carry over to the next request
        # Waits until the thread returns, whatever the run's phase: the thread is not free for another run before.
        in_thread, error = await self.threads.submit(lambda: own.run(_call_in_thread, call, run, arguments))
        if error is not None:
            raise error
        assert isinstance(in_thread, SerializedResult)
        return in_thread


def _call_in_thread(call: HandlerCall, run: Run, arguments: dict[str, Any]) -> SerializedResult:
    """Call a sync handler and serialize its result: a large one would hold up the loop, and with it the renewals."""
    if run.context.cancelled:  # a busy loop may submit it late, and what has expired is never started
        return NO_RESULT
    result = call.handler.function(**arguments)
    return NO_RESULT if run.context.cancelled else call.serialize(result)

"""Runs handlers: async ones on the loop, sync ones in threads.

Owns the places of one claimer and what becomes of a run: a result, an error, or
a stop. Whatever a handler raises or returns, exactly one report leaves here. Must
not know Redis: leases are names to it.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from floodgate.broker.envelopes import Task, TaskOutcome, TaskReply
from floodgate.declare.context import Caller, Context
from floodgate.declare.registry import ExecutorKind
from floodgate.errors import HTTPError
from floodgate.operations.logs import fields
from floodgate.worker.arguments import Plan
from floodgate.worker.runs import Ended, Event, Phase, Run
from floodgate.worker.serialization import SerializedResult, refusal
from floodgate.worker.thread_pool import ThreadPool

log = logging.getLogger("floodgate.worker")

NOTHING = SerializedResult(0, (), b"")


class Executor:
    """The places of one claimer. `on_end` is called once per run, in the loop."""

    def __init__(
        self,
        kind: ExecutorKind,
        places: int,
        plans: Mapping[str, Plan],
        max_result_bytes: int,
        on_end: Callable[[Ended], None],
    ) -> None:
        self.kind = kind
        self.places = places
        self.plans = plans
        self.runs: dict[str, Run] = {}
        """By lease, until the handler ended."""
        self.gained_room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._max_result_bytes = max_result_bytes
        self._on_end = on_end
        self._threads = ThreadPool(places) if kind == "s" else None

    @property
    def room(self) -> int:
        return self.places - len(self.runs)

    @property
    def overdue(self) -> int:
        """Return how many places are held by runs past their deadline: threads that hang, for the most part."""
        return sum(run.context.seconds_left == 0 for run in self.runs.values())

    @property
    def stuck(self) -> bool:
        """Tell whether nothing can be started, and nobody waits for anything that runs."""
        return self.room == 0 and self.overdue == self.places

    def start(self, lease: str, task_id: str, task: Task, tries_used: int, left_s: float) -> None:
        """Begin a run; at most `room` times."""
        caller = None if task.caller is None else Caller(task.caller, task.claims)
        run = Run(lease, task_id, task, Context(task.request_id, tries_used + 1, left_s, caller), left_s)
        self.runs[lease] = run
        run.work = self._loop.create_task(self._run(run))

    def stop(self, lease: str) -> bool:
        """Tell the handler of a lease to end: nobody waits for its answer. False if it has ended or was told before."""
        run = self.runs.get(lease)
        if run is None or run.phase in (Phase.STOPPED, Phase.RELEASED):
            return False
        self.tell(run, Event.STOP)
        return True

    def tell(self, run: Run, event: Event) -> None:
        """Move a run; its handler hears it once. A thread cannot be stopped: it has the flag of its `Context`."""
        if run.move(event) and self.kind == "a" and run.work is not None:
            run.work.cancel()

    def stop_task(self, task_id: str) -> None:
        """The same for whatever lease the task runs under."""
        for lease in [lease for lease, run in self.runs.items() if run.task_id == task_id]:
            self.stop(lease)

    async def idle(self) -> None:
        """Return when nothing runs any more."""
        while self.runs:
            self.gained_room.clear()
            await self.gained_room.wait()

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()

    async def _run(self, run: Run) -> None:
        outcome, answer = TaskOutcome.FAILED, NOTHING
        timer = self._loop.call_later(run.left_s, self.tell, run, Event.DEADLINE)
        self.tell(run, Event.BEGIN if run.left_s > 0 else Event.DEADLINE)  # nothing is started after its deadline
        try:
            if run.phase is Phase.RUNNING:
                answer = await self._answer(run)
                outcome = TaskOutcome.DONE
        except BaseException as error:  # a handler may raise anything, SystemExit and CancelledError too
            told = isinstance(error, asyncio.CancelledError) and run.phase is Phase.EXPIRED
            if run.phase in (Phase.RUNNING, Phase.EXPIRED) and not told:
                self._say(run, "handler failed", error)
        finally:
            timer.cancel()
            del self.runs[run.lease]
            self.gained_room.set()
            if run.context.cancelled:  # a starved loop may not have seen the deadline yet
                run.move(Event.DEADLINE)
            if run.phase is not Phase.RUNNING:
                outcome, answer = TaskOutcome.EXPIRED, NOTHING
            if run.phase is not Phase.RELEASED:
                self._report(run, outcome, answer)

    def _report(self, run: Run, outcome: TaskOutcome, answer: SerializedResult) -> None:
        run_ms = round((time.monotonic() - run.started_s) * 1000)
        wait_ms = max(0, round(run.task.budget_ms - run.left_s * 1000))
        reply = TaskReply(run.task_id, outcome, answer.status, answer.headers, answer.body, wait_ms, run_ms)
        in_time = outcome is not TaskOutcome.EXPIRED and run.context.seconds_left > 0
        self._on_end(Ended(run, reply, run_ms, in_time))

    async def _answer(self, run: Run) -> SerializedResult:
        plan = self.plans[run.task.route]
        try:
            answer = await self._call(plan, run)
        except (HTTPError, HTTPException, RequestValidationError) as error:
            return refusal(error)
        if len(answer.body) > self._max_result_bytes:
            raise ValueError(
                f"the result has {len(answer.body)} bytes, FLOODGATE_MAX_RESULT_BYTES allows {self._max_result_bytes}"
            )
        return answer

    async def _call(self, plan: Plan, run: Run) -> SerializedResult:
        arguments = await plan.arguments(run.task)
        if plan.handler.context_name is not None:
            arguments[plan.handler.context_name] = run.context
        # A context is copied with each task, but the decimal context in it is one object for all until it is replaced.
        decimal.setcontext(decimal.getcontext().copy())
        if self._threads is None:
            result = await plan.handler.function(**arguments)
            return NOTHING if run.context.cancelled else plan.render(result)
        own = contextvars.copy_context()  # a thread has one of its own, which would carry over to the next request
        # Keeps its place until the thread comes back, whatever has become of the run.
        answer, error = await self._threads.submit(lambda: own.run(_in_thread, plan, run, arguments))
        if error is not None:
            raise error
        assert isinstance(answer, SerializedResult)
        return answer

    def _say(self, run: Run, event: str, error: BaseException) -> None:
        label = self.plans[run.task.route].handler.label
        log.error(event, exc_info=error, extra=fields(request_id=run.task.request_id, route=label))


def _in_thread(plan: Plan, run: Run, arguments: dict[str, Any]) -> SerializedResult:
    """Call a sync handler and render its result: what is large would hold up the loop, and with it the renewals."""
    if run.context.cancelled:  # a starved loop may hand it over late: what expired is never started
        return NOTHING
    result = plan.handler.function(**arguments)
    return NOTHING if run.context.cancelled else plan.render(result)

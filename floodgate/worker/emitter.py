"""Carries what handlers yield to Redis: one `emit` is under way, what is yielded meanwhile is the next.

So calls are bounded by processes and time, not by items. `emit` may be repeated blindly,
and a stream that waits for its window is asked after.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from floodgate.broker.backoff import Backoff
from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import MAX_BATCH
from floodgate.broker.connection import Pool
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.broker.stream_commands import Emission, EmitCode, EmitResult, emit
from floodgate.errors import DecodeError, FloodgateError, HTTPError
from floodgate.operations.logs import fields
from floodgate.worker.arguments import HandlerCall
from floodgate.worker.executor import Executor, Run
from floodgate.worker.metrics import WorkerMetrics
from floodgate.worker.streaming import Stream, pull, pull_in_thread

log = logging.getLogger("floodgate.worker")

BATCH_BYTES = 512 * 1024
"""Of parts in one call, or one item that is larger: a script stops all others while it runs."""
CALL_S = 5.0
ASK_S, LONGEST_ASK_S = 0.01, 0.25
"""Until a stream without window is asked after for the first time, and at most: each time twice as long."""


class Emitter:
    """Sends the parts of all streams of a worker process, one `emit` after the other."""

    def __init__(
        self,
        pool: Pool,
        keys: Keys,
        clock: RedisClock,
        metrics: WorkerMetrics,
        *,
        flush_s: float,
        max_item_bytes: int,
    ) -> None:
        self.max_item_bytes = max_item_bytes
        self._pipeline = Pipeline(pool, self)
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._flush_s = flush_s
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._ready: dict[Stream, None] = {}
        """Those with something to send, in the order in which they had it."""
        self._asking: dict[Stream, None] = {}
        """Those that wait for their window."""
        self._ask_s = ASK_S
        self._ask_at_s = 0.0
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run_stream(self, executor: Executor, call: HandlerCall, run: Run, arguments: dict[str, Any]) -> None:
        """Run a generator to its end; what it has yielded is sent, save what travels with the end.

        An error of the handler's own after the head is no answer any more, so it is raised as a `RuntimeError`.
        """
        assert call.encoder is not None
        stream = run.stream = Stream(run, executor, self, call.encoder)
        try:
            generator = call.handler.function(**arguments)
            if executor.threads is None:
                await pull(stream, generator)
            else:
                own = contextvars.copy_context()
                _, error = await executor.threads.submit(lambda: own.run(pull_in_thread, stream, generator))
                if error is not None:
                    raise error
        except (HTTPError, HTTPException, RequestValidationError) as error:
            if not stream.started:
                raise
            await stream.drained()
            raise RuntimeError("raised after the first item: its client has a status already") from error
        except Exception:
            if stream.started:
                await stream.drained()
            raise
        await stream.drained()

    def notify(self, stream: Stream, urgent: bool, asks: bool = False) -> None:
        """Send what a stream has, at once or with the next tick; may be called in any thread."""
        if threading.get_ident() == self._thread:
            self._push(stream, urgent, asks)
        else:
            self._loop.call_soon_threadsafe(self._push, stream, urgent, asks)

    def _push(self, stream: Stream, urgent: bool, asks: bool) -> None:
        if stream.run.lease not in stream.executor.runs:  # it has ended; a thread told of it before
            return
        if not stream.run.extended and stream.started:
            stream.executor.extend(stream.run)
        if asks:
            self.ask(stream)
            return
        self._ready[stream] = None
        if urgent:
            self._due.set()
        else:
            self._wake_in(self._flush_s)

    def ask(self, stream: Stream) -> None:
        """Ask how much is taken of a stream, as long as it waits for that."""
        if stream not in self._asking:
            self._asking[stream] = None
            self._ask_s = ASK_S
            self._ask_at_s = self._loop.time() + ASK_S
        self._wake_in(max(0.0, self._ask_at_s - self._loop.time()))

    def forget(self, stream: Stream) -> None:
        """Send nothing more of a stream."""
        self._ready.pop(stream, None)
        self._asking.pop(stream, None)

    def _wake_in(self, seconds: float) -> None:
        if seconds <= 0:
            self._due.set()
            return
        when_s = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= when_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._due.set()

    async def run(self) -> None:
        """Send until cancelled; a call that failed is repeated, and until then nothing else is sent."""
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                if batch := self._batch():
                    self._take(batch, await self._answers([emission for _, emission in batch]))
                if self._asking:  # its timer may have gone off for something else
                    self._wake_in(max(0.001, self._ask_at_s - self._loop.time()))
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def on_open(self, pipeline: Pipeline) -> None:
        self._metrics.connects.opened("emit")

    def _batch(self) -> list[tuple[Stream, Emission]]:
        batch: list[tuple[Stream, Emission]] = []
        left = BATCH_BYTES
        for stream in list(self._ready):
            if len(batch) == MAX_BATCH or left <= 0:
                self._due.set()
                return batch
            part = stream.next_part(left, not batch)
            del self._ready[stream]
            if part is not None:
                left -= len(part.chunk)
                batch.append((stream, part))
            elif stream.is_blocked:
                self.ask(stream)
            elif stream.has_more:  # no place in this call: the first of the next one
                self._ready = {stream: None, **self._ready}
                self._due.set()
        if self._asking and self._loop.time() >= self._ask_at_s - 0.001:
            for stream in list(self._asking)[: MAX_BATCH - len(batch)]:
                del self._asking[stream]
                if not stream.in_flight:
                    batch.append((stream, stream.question()))
        return batch

    async def _answers(self, emissions: list[Emission]) -> tuple[EmitResult, ...]:
        backoff = Backoff()
        while True:
            sent_s = time.monotonic()
            try:
                answer = await self._pipeline.run(emit(self._keys, emissions), CALL_S)
            except DecodeError as error:
                self._metrics.emits.failed()
                log.error("the answer of emit cannot be read", extra=fields(reason=str(error), runs=len(emissions)))
                return tuple(EmitResult(EmitCode.GONE, 0) for _ in emissions)
            except FloodgateError as error:
                self._metrics.emits.failed()
                log.warning("streams wait for Redis", extra=fields(reason=str(error), runs=len(emissions)))
                await asyncio.sleep(backoff.next_s())
            else:
                self._clock.observe(answer.now_ms)
                self._metrics.emits.answered(time.monotonic() - sent_s, len(emissions))
                return answer.results

    def _take(self, batch: list[tuple[Stream, Emission]], results: tuple[EmitResult, ...]) -> None:
        has_moved = False
        for (stream, _), result in zip(batch, results, strict=True):
            has_moved = stream.answered(result) or has_moved
            if stream.run.lease not in stream.executor.runs:
                continue
            if stream.is_blocked:
                self._asking[stream] = None
            if stream.has_more and stream not in self._ready:
                self._ready[stream] = None
                self._wake_in(0 if has_moved else self._flush_s)
        if self._asking:
            self._ask_s = ASK_S if has_moved else min(LONGEST_ASK_S, 2 * self._ask_s)
            self._ask_at_s = self._loop.time() + self._ask_s

"""Runs handlers that yield, and carries what they yield to Redis while they go on.

Owns the buffer and the window of every stream of a worker process, and the one `emit`
that is under way: what is yielded meanwhile is the next, so calls are bounded by
processes and time, not by items. The end of a stream travels with `complete`.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from floodgate.broker.backoff import Backoff
from floodgate.broker.clock import RedisClock
from floodgate.broker.commands import MAX_BATCH, EmitCode, Emission, EmitResult, emit
from floodgate.broker.connection import Pool
from floodgate.broker.envelopes import Headers, StreamReply, TaskOutcome, pack_reply
from floodgate.broker.keys import Keys
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import DecodeError, FloodgateError, HTTPError
from floodgate.operations.logs import fields
from floodgate.worker.arguments import HandlerCall
from floodgate.worker.executor import Executor, Phase, Run
from floodgate.worker.items import ItemEncoder, head_of
from floodgate.worker.metrics import WorkerMetrics

log = logging.getLogger("floodgate.worker")

FULL_BYTES = 16 * 1024
"""A part of this size is sent before its time."""
BATCH_BYTES = 512 * 1024
"""Of parts in one call, or one item that is larger: a script stops all others while it runs."""
CALL_S = 5.0
ITEMS_PER_TURN = 64
"""A generator that never waits lets others have the loop after so many items."""
ASK_S, LONGEST_ASK_S = 0.01, 0.25
"""Until a stream without window is asked after for the first time, and at most: each time twice as long."""
LOOK_S = 0.05
"""How often a thread that waits for window looks whether it has to stop."""


class Stream:
    """What one run has yielded: what of it is not sent yet, and how much of it its client has taken."""

    def __init__(self, run: Run, executor: Executor, emitter: Emitter, encoder: ItemEncoder) -> None:
        self.run = run
        self.executor = executor
        self.started = False
        """It has its head: whatever happens from here on is no answer of its own any more."""
        self.in_flight = False
        """A part of it is sent, and not answered yet."""
        self._emitter = emitter
        self._encoder = encoder
        self._window = run.task.window_bytes or FULL_BYTES
        self._status, self._headers = encoder.head.status, encoder.head.headers
        self._items: deque[bytes] = deque()
        self._number = 0
        """Of the last part that was sent."""
        # Three sums instead of two differences: a thread adds, the loop takes, and each is written by one of them.
        self._added = self._sent = self._acknowledged = 0
        self._told = self._told_full = False
        """The loop knows that there is something to send; that it is a whole part."""
        self._moved = asyncio.Event()
        self._room = threading.Event()

    # What the generator's side calls, in the loop or in the run's thread

    def add(self, item: Any) -> None:
        """Encode and buffer one item; the first may be the head, which is no item."""
        if not self.started:
            head = head_of(item)
            if head is not None:
                status, headers = self._encoder.with_head(head)
                self._begin(status, headers)
                return
        data = self._encoder.encode(item)
        if len(data) > self._emitter.max_item_bytes:
            raise ValueError(
                f"an item has {len(data)} bytes, FLOODGATE_MAX_RESULT_BYTES allows {self._emitter.max_item_bytes}"
            )
        if not self.started:
            self._begin(self._status, self._headers)
        self._items.append(data)
        self._added += len(data)
        # In this order: the loop forgets that it was told before it takes, so nothing is left that it does not know of.
        if not self._told:
            self._told = True
            self._emitter.notify(self, self._added >= FULL_BYTES)
        elif not self._told_full and self._added - self._sent >= FULL_BYTES:
            self._told_full = True
            self._emitter.notify(self, True)

    def _begin(self, status: int, headers: Headers) -> None:
        self._status, self._headers, self.started, self._told = status, headers, True, True
        self._emitter.notify(self, True)

    @property
    def is_full(self) -> bool:
        """Tell whether the window is used up: the generator has to wait."""
        return self._added - self._acknowledged >= self._window

    async def wait_for_room(self) -> None:
        """Return when more may be yielded."""
        while self.is_full:
            self._emitter.ask(self)
            self._moved.clear()
            await self._moved.wait()

    def wait_for_room_in_thread(self) -> None:
        """Return when more may be yielded, or the run has to stop."""
        while self.is_full and self.run.phase is Phase.RUNNING:
            self._emitter.notify(self, False, asks=True)
            self._room.clear()
            if self.is_full:
                self._room.wait(LOOK_S)

    async def drained(self) -> None:
        """Return when nothing is under way, and what is left fits into the window; it travels with the end."""
        if not self.started:
            self._begin(self._status, self._headers)
            self._emitter.forget(self)
        while self.in_flight or (self.is_full and self._sent > self._acknowledged):
            if self.run.phase is not Phase.RUNNING:
                return
            self._emitter.ask(self)
            self._moved.clear()
            await self._moved.wait()

    # What the emitter calls

    def next_part(self, most: int, alone: bool) -> Emission | None:
        """Return what is to be sent next and fits into the window and into `most` bytes; None if nothing does.

        One item that is larger goes when it is `alone` in its call and nothing else is under way.
        """
        self._told = self._told_full = False
        outstanding = self._sent - self._acknowledged
        most = min(most, self._window - outstanding)
        part: list[bytes] = []
        size = 0
        while self._items and (
            size + len(self._items[0]) <= most or (not part and not outstanding and (alone or most >= self._window))
        ):
            item = self._items.popleft()
            size += len(item)
            part.append(item)
        if not part and (self._number or not self.started):
            return None
        self._sent += size
        self._number += 1
        first = self._number == 1
        reply = StreamReply(
            self.run.task_id,
            TaskOutcome.CHUNK,
            self._status if first else 0,
            self._headers if first else (),
            b"".join(part),
            number=self._number,
            run=self.run.lease,
        )
        return self._emission(pack_reply(reply), self.run.task.stream_until_ms if first else 0)

    def question(self) -> Emission:
        """Return what only asks how much of the stream is taken."""
        return self._emission(b"", 0)

    def _emission(self, chunk: bytes, until_ms: int) -> Emission:
        self.in_flight = True
        task = self.run.task
        return Emission(self.run.lease, self.run.task_id, task.route, task.inbox, until_ms, chunk)

    @property
    def has_more(self) -> bool:
        return bool(self._items)

    @property
    def is_blocked(self) -> bool:
        """Tell whether it waits for its client: only an answer of Redis can say that it may go on."""
        return self._sent > self._acknowledged and (self.is_full or bool(self._items))

    def answered(self, result: EmitResult) -> bool:
        """Take over what Redis says; tell whether its client has taken anything."""
        has_moved = result.acknowledged > self._acknowledged
        self._acknowledged = min(self._sent, max(self._acknowledged, result.acknowledged))
        self.in_flight = False
        self._moved.set()
        self._room.set()
        if result.code is not EmitCode.HELD:
            self.executor.stop(self.run.lease)
        return has_moved

    def end(self, outcome: TaskOutcome, wait_ms: int, run_ms: int) -> StreamReply:
        """Return the end, with what was not sent yet where all that was yielded before has arrived."""
        self._emitter.forget(self)
        first = self._number == 0
        body = b"".join(self._items) if outcome is not TaskOutcome.EXPIRED else b""
        return StreamReply(
            self.run.task_id,
            outcome,
            self._status if first else 0,
            self._headers if first else (),
            body,
            wait_ms,
            run_ms,
            self._number + 1,
            self.run.lease,
        )


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
                await _pull(stream, generator)
            else:
                own = contextvars.copy_context()
                _, error = await executor.threads.submit(lambda: own.run(_pull_in_thread, stream, generator))
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


async def _pull(stream: Stream, generator: AsyncGenerator[Any, None]) -> None:
    # Cancelled as a task, never by a time-out around one item: that would end the generator where it stands (PEP 789).
    async with aclosing(generator):
        count = 0
        async for item in generator:
            if stream.run.phase is not Phase.RUNNING:  # it was cancelled, and goes on all the same
                return
            stream.add(item)
            count += 1
            if stream.is_full:
                await stream.wait_for_room()
            elif count % ITEMS_PER_TURN == 0:
                await asyncio.sleep(0)


def _pull_in_thread(stream: Stream, generator: Iterator[Any]) -> None:
    decimal.setcontext(decimal.getcontext().copy())
    with closing(generator):  # type: ignore[type-var]
        if stream.run.phase is not Phase.RUNNING:  # a busy loop may submit it late
            return
        for item in generator:
            if stream.run.phase is not Phase.RUNNING:
                return
            stream.add(item)
            if stream.is_full:
                stream.wait_for_room_in_thread()

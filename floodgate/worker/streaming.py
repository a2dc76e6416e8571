"""What one run has yielded: its buffer, its window, and the generator that fills them.

A generator waits while its window is used up. Written from the loop or from the run's
thread, read in the loop. The end of a stream travels with `complete`. Must not know how
parts are sent.
"""

from __future__ import annotations

import asyncio
import decimal
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import Any, Protocol

from floodgate.broker.envelopes import Headers, StreamReply, TaskOutcome, pack_reply
from floodgate.broker.stream_commands import Emission, EmitCode, EmitResult
from floodgate.worker.executor import Executor, Phase, Run
from floodgate.worker.items import ItemEncoder, head_of

FULL_BYTES = 16 * 1024
"""A part of this size is sent before its time."""
ITEMS_PER_TURN = 64
"""A generator that never waits lets others have the loop after so many items."""
LOOK_S = 0.05
"""How often a thread that waits for window looks whether it has to stop."""


class Sender(Protocol):
    """Sends what streams have, and asks how much of it is taken."""

    max_item_bytes: int

    def notify(self, stream: Stream, urgent: bool, asks: bool = False) -> None:
        """Send what a stream has, at once or with the next tick; may be called in any thread."""

    def ask(self, stream: Stream) -> None:
        """Ask how much is taken of a stream, as long as it waits for that."""

    def forget(self, stream: Stream) -> None:
        """Send nothing more of a stream."""


class Stream:
    """What one run has yielded: what of it is not sent yet, and how much of it its client has taken."""

    def __init__(self, run: Run, executor: Executor, emitter: Sender, encoder: ItemEncoder) -> None:
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
    def has_to_stop(self) -> bool:
        return self.run.phase is not Phase.RUNNING

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
        while self.is_full and not self.has_to_stop:
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
            if self.has_to_stop:
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
        if not first:
            return self._emission(pack_reply(reply))
        head_ms = round((time.monotonic() - self.run.started_s) * 1000)
        return self._emission(pack_reply(reply), self.run.task.stream_until_ms, head_ms)

    def question(self) -> Emission:
        """Return what only asks how much of the stream is taken."""
        return self._emission(b"")

    def _emission(self, chunk: bytes, until_ms: int = 0, head_ms: int = 0) -> Emission:
        self.in_flight = True
        task = self.run.task
        return Emission(self.run.lease, self.run.task_id, task.route, task.inbox, until_ms, head_ms, chunk)

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


async def pull(stream: Stream, generator: AsyncGenerator[Any, None]) -> None:
    """Take items until there are no more, or the run is stopped."""
    # Cancelled as a task, never by a time-out around one item: that would end the generator where it stands (PEP 789).
    async with aclosing(generator):
        count = 0
        async for item in generator:
            if stream.has_to_stop:  # it was cancelled, and goes on all the same
                return
            stream.add(item)
            count += 1
            if stream.is_full:
                await stream.wait_for_room()
            elif count % ITEMS_PER_TURN == 0:
                await asyncio.sleep(0)


def pull_in_thread(stream: Stream, generator: Iterator[Any]) -> None:
    """Take items in a thread, which cannot be cancelled: it stops at the next one."""
    decimal.setcontext(decimal.getcontext().copy())
    with closing(generator):  # type: ignore[type-var]
        for item in generator:
            if stream.has_to_stop:
                return
            stream.add(item)
            if stream.is_full:
                stream.wait_for_room_in_thread()

"""Turns the parts of a streamed answer into one response, and tells Redis what its client has taken.

Owns the streams of one gateway process. A request stays in the dispatcher's table
until its stream has ended: from the head on, its `answer` is the end. A stream that
does not end well ends with its connection, so that half is never taken for whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from fastapi import Response
from starlette.types import Receive, Scope, Send

from floodgate.broker.envelopes import StreamReply, TaskReply
from floodgate.broker.pipeline import Pipeline
from floodgate.broker.stream_commands import acknowledge
from floodgate.declare.registry import Handler
from floodgate.errors import FloodgateError
from floodgate.gateway.admission import PendingRequest
from floodgate.gateway.connections import StreamBroken
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.middleware import record_of
from floodgate.gateway.outcomes import Failure, Outcome, lost
from floodgate.gateway.responses import problem_of
from floodgate.gateway.stream_format import PING_S, headers_of, ping, problem_event

log = logging.getLogger("floodgate.gateway")

TICK_S = 0.05
"""Between two acknowledgements of what clients have taken; half a window is acknowledged at once."""
WATCH_S = 1.0
"""Between two looks at streams that stand still, and at those that are due for a ping."""
REPEAT_S = 5.0
"""Totals of all streams are told again, since Redis may have lost them."""
MOST_TOTALS = 1000
"""In one call."""
PIECE_BYTES = 64 * 1024
CALL_S = 2.0


class Table(Protocol):
    """Where requests wait for their answers."""

    def end_stream(self, pending: PendingRequest) -> None:
        """Forget a request; cancel its task unless it has ended."""


class IncomingStream:
    """What has arrived of one stream, and how much of it the client has taken."""

    __slots__ = (
        *("chunks", "ends_s", "has_ended", "is_still", "is_writing", "moved_s", "number", "pending", "pings"),
        *("run", "sent_s", "taken", "told", "wake", "writer"),
    )

    def __init__(self, pending: PendingRequest, run: str, now_s: float) -> None:
        self.pending = pending
        self.run = run
        self.number = 0
        """Of the last part."""
        self.chunks: deque[bytes] = deque()
        self.wake = asyncio.Event()
        self.taken = self.told = 0
        """Bytes that the server has taken for the client, and those that Redis was told of."""
        self.writer: asyncio.Task[None] | None = None
        self.moved_s = self.sent_s = now_s
        """When its client last took something, or had something to take; when something was last written."""
        self.ends_s = pending.arrived_s + (pending.handler.stream_s or 0)
        self.is_writing = self.is_still = self.pings = self.has_ended = False

    def add(self, reply: StreamReply) -> None:
        """Take the next part; what came before is dropped, and a gap ends the stream."""
        if self.fits(reply):
            self.number = reply.number
            self.chunks.append(reply.body)
            self.wake.set()
        elif reply.run != self.run or reply.number > self.number:
            self.pending.settle(lost(self.pending.handler))

    def fits(self, reply: TaskReply | None) -> bool:
        """Tell whether this is what follows."""
        return isinstance(reply, StreamReply) and reply.run == self.run and reply.number == self.number + 1


class Streams:
    """The streams of one gateway process."""

    def __init__(self, context: GatewayContext, pipeline: Pipeline) -> None:
        self.window_bytes = context.settings.stream_window_bytes
        self._pipeline = pipeline
        self._keys = context.keys
        self._process = context.process
        self._metrics = context.metrics
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, IncomingStream] = {}
        self._changed: dict[str, IncomingStream] = {}
        self._ended: list[str] = []
        self._due = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._repeated_s = 0.0
        self.table: Table

    def take(self, pending: PendingRequest, reply: TaskReply) -> None:
        """Take a part of a stream; the first one is the answer that its request waits for."""
        if not isinstance(reply, StreamReply) or pending.handler.stream is None:
            pending.settle(Outcome(failure=Failure.FAILED))
            return
        if pending.stream is None:
            if reply.number != 1:  # what came before is missing
                pending.settle(lost(pending.handler))
                return
            self._begin(pending, reply)
        pending.stream.add(reply)

    def _begin(self, pending: PendingRequest, reply: StreamReply) -> None:
        stream = pending.stream = IncomingStream(pending, reply.run, self._loop.time())
        head, pending.answer = pending.answer, self._loop.create_future()
        pending.answer.add_done_callback(lambda _: stream.wake.set())
        self._open[pending.id] = stream
        if self._watch_timer is None:
            self._watch_timer = self._loop.call_later(WATCH_S, self._watch)
        head.set_result(Outcome(reply=reply, predicted_ms=pending.wait_ms, stream=stream))

    def took(self, stream: IncomingStream, size: int) -> None:
        """Note that the server has taken so many bytes of a stream."""
        if stream.has_ended:
            return
        stream.taken += size
        stream.moved_s = stream.sent_s = self._loop.time()
        self._changed[stream.pending.id] = stream
        if stream.taken - stream.told >= self.window_bytes // 2:
            self._due.set()
        elif self._tick is None:
            self._tick = self._loop.call_later(TICK_S, self._due.set)

    def end(self, stream: IncomingStream) -> None:
        """Forget a stream; may be called twice. Its task is cancelled unless it has ended."""
        if stream.has_ended:
            return
        stream.has_ended = True
        id = stream.pending.id
        self._open.pop(id, None)
        self._changed.pop(id, None)
        if stream.told:
            self._ended.append(id)
            if self._tick is None:
                self._tick = self._loop.call_later(TICK_S, self._due.set)
        stream.chunks.clear()
        self.table.end_stream(stream.pending)
        stream.pending.settle(Outcome(failure=Failure.CLIENT_LEFT))

    def _watch(self) -> None:
        now_s = self._loop.time()
        self._watch_timer = self._loop.call_later(WATCH_S, self._watch) if self._open else None
        for stream in list(self._open.values()):
            idle_s = stream.pending.handler.stream_idle_s
            if now_s > stream.ends_s + WATCH_S:  # its worker has said so already, if it is there
                stream.pending.settle(Outcome(failure=Failure.DEADLINE_EXCEEDED))
            if (stream.is_writing or stream.writer is None) and now_s - stream.moved_s > idle_s:
                stream.is_still = True
                if stream.writer is None:  # nobody came for it
                    self.end(stream)
                else:
                    stream.writer.cancel()
            elif now_s - stream.sent_s >= PING_S - WATCH_S:
                stream.pings, stream.sent_s = True, now_s
                stream.wake.set()
        if now_s - self._repeated_s > REPEAT_S and self._open:
            self._repeated_s = now_s
            self._changed.update((id, stream) for id, stream in self._open.items() if stream.told)
            if self._changed:
                self._due.set()

    async def run(self) -> None:
        """Acknowledge until cancelled. What could not be told is told with the next call."""
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                if self._tick is not None:
                    self._tick.cancel()
                    self._tick = None
                if self._changed or self._ended:
                    await self._acknowledge()
        finally:
            for timer in (self._tick, self._watch_timer):
                if timer is not None:
                    timer.cancel()

    async def _acknowledge(self) -> None:
        batch = list(self._changed.items())[:MOST_TOTALS]
        ended, self._ended = self._ended[:MOST_TOTALS], self._ended[MOST_TOTALS:]
        totals = {id: stream.taken for id, stream in batch}
        for id, _ in batch:
            del self._changed[id]
        sent_s = self._loop.time()
        try:
            await self._pipeline.run(acknowledge(self._keys, self._process, totals, ended), CALL_S)
        except FloodgateError:
            self._metrics.acknowledgements.failed()
            self._changed = {**dict(batch), **self._changed}
            await asyncio.sleep(TICK_S)
            self._due.set()
            return
        self._metrics.acknowledgements.answered(self._loop.time() - sent_s, len(batch))
        for id, stream in batch:
            stream.told = max(stream.told, totals[id])
            if stream.has_ended:  # while it was told of
                self._ended.append(id)
        if self._changed or self._ended:
            self._tick = self._loop.call_later(0 if len(batch) == MOST_TOTALS else TICK_S, self._due.set)


class StreamResponse(Response):
    """Sends the parts of a stream as they come; breaks the connection where they do not come to an end."""

    def __init__(self, streams: Streams, handler: Handler, answer: Outcome, request_id: str) -> None:
        head = answer.reply
        assert head is not None
        super().__init__(status_code=head.status)
        assert handler.stream is not None
        self.raw_headers = [*head.headers, *headers_of(handler.stream, head.headers)]
        self._format = handler.stream
        self._streams = streams
        self._answer = answer
        self._stream = answer.stream
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        if stream is None:  # it has ended before its first part left the worker
            await self._start(send)
            await self._finish(send, self._answer)
            return
        stream.writer = asyncio.current_task()
        listening = asyncio.create_task(self._listen(receive, stream))
        try:
            await self._start(send)
            end = await self._send_parts(send, stream)
            record_of(scope).note(end)
            if end.failure is Failure.CLIENT_LEFT:
                return
            if end.failure is None and not stream.fits(end.reply):
                end = lost(stream.pending.handler)
            await self._finish(send, end, stream)
        except asyncio.CancelledError:
            if not stream.is_still or stream.writer is None:
                raise
            stream.writer.uncancel()
            record_of(scope).outcome = Failure.CLIENT_LEFT.label
            log.warning("a stream that nobody reads: its connection is cut", extra={"request_id": self._request_id})
            raise StreamBroken(reset=True) from None
        finally:
            listening.cancel()
            stream.writer = None
            self._streams.end(stream)

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send_parts(self, send: Send, stream: IncomingStream) -> Outcome:
        """Send what comes until the end is known, and return that."""
        stream.is_writing = True
        while True:
            stream.wake.clear()
            while stream.chunks:
                chunk = stream.chunks[0]
                for piece in _pieces(chunk):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    self._streams.took(stream, len(piece))
                if stream.chunks:  # else it was cleared meanwhile: its client has left
                    stream.chunks.popleft()
            if stream.pending.answer.done():
                return stream.pending.answer.result()
            if stream.pings:
                stream.pings = False
                if (comment := ping(self._format)) is not None:
                    await send({"type": "http.response.body", "body": comment, "more_body": True})
            stream.is_writing = False
            await stream.wake.wait()
            stream.is_writing, stream.moved_s = True, asyncio.get_running_loop().time()

    async def _finish(self, send: Send, end: Outcome, stream: IncomingStream | None = None) -> None:
        reply = end.reply
        if reply is not None and (stream is None or stream.fits(reply)):
            # As a whole where there is no stream that is watched: large ones are watched by `LargeAnswers`.
            for piece in [reply.body] if stream is None else _pieces(reply.body):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if end.failure is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        event = problem_event(self._format, problem_of(end.failure.row, self._request_id))
        if event is not None:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        raise StreamBroken(reset=False)

    async def _listen(self, receive: Receive, stream: IncomingStream) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._streams.end(stream)


def _pieces(body: bytes) -> Iterator[bytes]:
    if len(body) <= PIECE_BYTES:
        if body:
            yield body
        return
    for at in range(0, len(body), PIECE_BYTES):
        yield body[at : at + PIECE_BYTES]

"""What `call` gives for a handler that streams: an async iterator of its items, read back from their bytes.

Owns the reading of events, lines and bytes. A caller that takes nothing holds the
handler back, as a client does. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from fastapi.sse import ServerSentEvent
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect

from floodgate.declare.registry import Handler
from floodgate.declare.streaming import StreamFormat
from floodgate.gateway.outcomes import Failure, Outcome, lost
from floodgate.gateway.streaming import IncomingStream, Streams

Decode = Callable[[bytes], Iterable[Any]]


async def called_items(streams: Streams, handler: Handler, answer: Outcome, decode: Decode) -> AsyncIterator[Any]:
    """Yield the items of a stream whose head is there; raises what `call` raises, where the stream breaks off."""
    stream: IncomingStream | None = answer.stream
    end = answer
    if stream is None:  # it has ended before its first part left the worker
        parts = b"" if answer.reply is None else answer.reply.body
        for item in decode(parts):
            yield item
    else:
        try:
            while stream.chunks or not stream.pending.answer.done():
                stream.wake.clear()
                while stream.chunks:
                    chunk = stream.chunks.popleft()
                    for item in decode(chunk):
                        yield item
                    streams.took(stream, len(chunk))
                if not stream.pending.answer.done():
                    await _woken(stream)
            end = stream.pending.answer.result()
            if end.failure is None and not stream.fits(end.reply):
                end = lost(handler)
            if end.reply is not None and stream.fits(end.reply):
                for item in decode(end.reply.body):
                    yield item
        finally:
            streams.end(stream)
    if end.failure is Failure.CLIENT_LEFT:
        raise ClientDisconnect
    if end.failure is not None:
        raise end.failure.row.raises(handler, end)


async def _woken(stream: IncomingStream) -> None:
    """Wait for the next part. Whoever waits is no reader that stands still, and while the caller works, one is."""
    stream.writer = asyncio.current_task()
    try:
        await stream.wake.wait()
    finally:
        stream.writer, stream.pings = None, False
    stream.moved_s = asyncio.get_running_loop().time()


def decoder(handler: Handler, adapter: TypeAdapter[Any]) -> Decode:
    """Return what reads some whole items of a handler; `adapter` is of their type."""

    def read(text: bytes) -> Any:
        return adapter.validate_json(text, by_alias=True, by_name=True)

    def lines(data: bytes) -> Iterator[Any]:
        return map(read, data.splitlines())

    def events(data: bytes) -> Iterator[Any]:
        return (_item(fields, read) for fields in _events(data.decode()))

    def pieces(data: bytes) -> Iterator[Any]:
        return iter((data,) if data else ())

    return {StreamFormat.SSE: events, StreamFormat.JSON_LINES: lines, StreamFormat.BYTES: pieces}[
        handler.stream or StreamFormat.BYTES
    ]


def _item(fields: list[tuple[str, str]], read: Callable[[bytes], Any]) -> Any:
    """Return what was yielded: what has nothing but data is an item, everything else an event with its raw data."""
    values = {name: "\n".join(value for key, value in fields if key == name) for name, _ in fields}
    if values.keys() == {"data"}:
        return read(values["data"].encode())
    named = {"data": "raw_data", "": "comment"}
    return ServerSentEvent.model_validate({named.get(name, name): value for name, value in values.items()})


def _events(text: str) -> Iterator[list[tuple[str, str]]]:
    fields: list[tuple[str, str]] = []
    for line in text.split("\n"):
        if line:
            name, _, value = line.partition(":")
            fields.append((name, value.removeprefix(" ")))
        elif fields:
            yield fields
            fields = []

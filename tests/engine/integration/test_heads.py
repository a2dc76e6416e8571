"""Heads that never end, and those that take too long, on the connections of a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from fastapi import FastAPI, Request

from floodgate.operations import heads
from floodgate.operations.heads import MOST_HEAD_BYTES, BoundedHeads, cut_slow_heads

HEAD_S = 0.4
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

app = FastAPI()


@app.get("/")
async def nothing(seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    return "nothing"


@app.post("/")
async def size(request: Request) -> int:
    return len(await request.body())


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(heads, "HEAD_S", HEAD_S)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, http=BoundedHeads, timeout_keep_alive=60))

    async def looking() -> None:
        while True:
            await cut_slow_heads(server.server_state.connections)
            await asyncio.sleep(0.05)

    serving, looks = asyncio.create_task(server.serve()), asyncio.create_task(looking())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    looks.cancel()
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return the body of one answer; b'' when the connection ends before it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return await reader.readexactly(length)


@pytest.mark.parametrize("beginning", [b"", GET, GET[:10]], ids=["silent", "head", "line"])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_head_that_takes_too_long_ends_its_connection(port: int, beginning: bytes, before: int) -> None:
    async with connected(port) as (reader, writer), asyncio.timeout(10):
        if before:
            writer.write(GET + b"\r\n")
            assert await answer(reader) == b'"nothing"'
            beginning = beginning or b"G"  # without a byte it is kept alive
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            assert await reader.read(1000) == b""


async def test_a_drip_keeps_no_connection_open(port: int) -> None:
    async with connected(port) as (reader, writer), asyncio.timeout(10):
        writer.write(GET + b"X: ")
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.05)


async def test_what_owes_no_head_is_left_alone(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert await answer(reader) == b'"nothing"'
        await asyncio.sleep(3 * HEAD_S)  # kept alive
        writer.write(GET.replace(b"/ ", b"/?seconds=1.2 ", 1) + b"\r\n")
        assert await answer(reader) == b'"nothing"'
        writer.write(POST + b"1\r\na\r\n")
        await asyncio.sleep(3 * HEAD_S)  # a slow body
        writer.write(b"1\r\nb\r\n0\r\n\r\n")
        assert await answer(reader) == b"2"


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [(GET, b"X-Y: " + b"a" * 1000 + b"\r\n"), (GET + b"X: ", b"a" * 1000), (POST + b"0\r\n", b"X: 1\r\n" * 100)],
    ids=["headers", "one header", "trailers"],
)
async def test_what_never_ends_is_cut(port: int, beginning: bytes, piece: bytes) -> None:
    async with connected(port) as (_, writer), asyncio.timeout(10):
        writer.write(beginning)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * MOST_HEAD_BYTES:
                writer.write(piece * 20)
                await writer.drain()
                sent += len(piece) * 20
        assert sent < 64 * MOST_HEAD_BYTES


async def test_a_large_body_in_any_pieces_and_many_requests_on_one_connection_are_taken(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(POST + b"1\r\na\r\n" * 300_000 + b"0\r\n\r\n")
        assert await answer(reader) == b"300000"
        writer.write(POST + (b"80000\r\n" + b"a" * 0x80000 + b"\r\n") * 8 + b"0\r\n\r\n")
        assert await answer(reader) == b"%d" % (8 * 0x80000)
        for _ in range(12):
            writer.write(GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n")
            assert await answer(reader) == b'"nothing"'

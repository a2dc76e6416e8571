"""The connection of the hot loops, against a real server whose bytes arrive in pieces, too many, too late or never."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio.connection import ConnectionPool

from floodgate.broker.connection import connect
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import Unavailable
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer

Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Proxy:
    """Stands between a wire and the server; `chunk` is how many bytes of a reply it passes on at once."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self.chunk = 1 << 20
        self.pause_s = 0.0
        self.silent = False
        self.clients: list[asyncio.StreamWriter] = []
        self.port = 0

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for client in self.clients:
                client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        upstream_reader, upstream = await _open(self._server.url)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._relay(reader, upstream))
            group.create_task(self._relay(upstream_reader, writer, to_client=True))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_client: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if to_client and self.silent:
                    continue
                step = self.chunk if to_client else len(data)
                for at in range(0, len(data), step):
                    writer.write(data[at : at + step])
                    await writer.drain()
                    if to_client and self.chunk < 1 << 20:
                        await asyncio.sleep(self.pause_s)
        writer.close()

    def reset(self) -> None:
        """Cut every connection with a TCP reset instead of an orderly end."""
        for client in self.clients:
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
        self.clients.clear()


async def _open(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    return await asyncio.open_connection(parts.hostname, parts.port)


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Pipeline]:
    client = connect(Settings(redis_url=url, namespace="wire"))
    pipeline = Pipeline(client.connection_pool)
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await client.aclose()


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[Proxy]:
    async with Proxy(server).listening() as running:
        yield running


@pytest.fixture
async def pipeline(proxy: Proxy) -> AsyncIterator[Pipeline]:
    async with wire_to(f"redis://127.0.0.1:{proxy.port}/0") as opened:
        yield opened


async def test_replies_that_arrive_byte_by_byte_are_the_same(proxy: Proxy, pipeline: Pipeline) -> None:
    commands = [
        ("EVAL", "return {1, 'two', {3, false}, redis.status_reply('fine')}", 0),
        ("EVAL", "return redis.error_reply('ODD of its own')", 0),
        ("GET", "nothing-here"),
        ("EVALSHA", "0" * 40, 0),
        ("PING",),
    ]
    whole = await pipeline.execute(commands, 5)
    proxy.chunk = 1
    split = await pipeline.execute(commands, 5)
    assert [repr(reply) for reply in split] == [repr(reply) for reply in whole]
    assert split[0] == [1, b"two", [3, None], b"fine"]
    assert isinstance(split[1], Exception)
    assert str(split[1]) == "ODD of its own"
    assert split[4] == b"PONG"


async def test_a_reset_while_idle_is_known_before_anything_is_sent(proxy: Proxy, pipeline: Pipeline) -> None:
    await pipeline.execute([("PING",)], 5)
    proxy.reset()
    await asyncio.sleep(0.05)
    assert not pipeline.is_open
    await pipeline.open()
    assert await pipeline.execute([("PING",)], 5) == [b"PONG"]


async def test_a_reset_in_the_middle_of_an_exchange_is_unavailable_at_once(proxy: Proxy, pipeline: Pipeline) -> None:
    await pipeline.open()
    proxy.silent = True
    asking = asyncio.create_task(pipeline.execute([("PING",)], 30))
    await asyncio.sleep(0.05)
    proxy.reset()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(asking, 2)
    assert not pipeline.is_open


async def test_a_server_that_is_silent_ends_the_exchange_and_the_connection(proxy: Proxy, pipeline: Pipeline) -> None:
    await pipeline.open()
    proxy.silent = True
    with pytest.raises(Unavailable):
        await pipeline.execute([("PING",)], 0.1)
    assert not pipeline.is_open
    proxy.silent = False
    assert await pipeline.execute([("PING",)], 5) == [b"PONG"]


async def test_what_is_cancelled_half_way_never_answers_the_next_one(proxy: Proxy, pipeline: Pipeline) -> None:
    await pipeline.open()
    proxy.chunk, proxy.pause_s = 1, 0.01
    asking = asyncio.create_task(pipeline.execute([("ECHO", "first")], 5))
    await asyncio.sleep(0.03)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    proxy.chunk = 1 << 20
    assert await pipeline.execute([("ECHO", "second")], 5) == [b"second"]


@pytest.mark.parametrize("extra", [b"+unasked\r\n", b"what is this\r\n"])
async def test_bytes_that_nobody_asked_for_close_the_connection(proxy: Proxy, pipeline: Pipeline, extra: bytes) -> None:
    await pipeline.open()
    proxy.clients[-1].write(extra)
    await asyncio.sleep(0.05)
    assert not pipeline.is_open
    assert await pipeline.execute([("ECHO", "mine")], 5) == [b"mine"]


async def test_closing_the_client_does_not_wait_for_a_connection_in_use(server: EmbeddedServer) -> None:
    client = connect(Settings(redis_url=server.url, namespace="wire"))
    pipeline = Pipeline(client.connection_pool)
    await pipeline.execute([("PING",)], 5)
    async with asyncio.timeout(1):
        await client.aclose()


async def test_a_large_exchange_passes_in_both_directions(pipeline: Pipeline) -> None:
    body = b"x" * 4_000_000
    assert await pipeline.execute([("ECHO", body), ("PING",)], 10) == [body, b"PONG"]


@pytest.mark.openssl
async def test_the_same_over_tls(server: EmbeddedServer, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (Debian: apt install openssl)")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost")
    subprocess.run(
        [*made, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with (
        Proxy(server).listening(context) as proxy,
        wire_to(f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}") as pipeline,
    ):
        assert await pipeline.execute([("PING",)], 5) == [b"PONG"]
        proxy.chunk = 7
        body = b"y" * 5_000
        assert await pipeline.execute([("ECHO", body)], 10) == [body]
        proxy.reset()
        await asyncio.sleep(0.1)
        assert not pipeline.is_open
        assert await pipeline.execute([("PING",)], 5) == [b"PONG"]


def test_the_transport_of_redis_py_is_where_it_was() -> None:
    """An upgrade that moves it is seen here by its name, and not by a connection that never opens."""
    assert hasattr(ConnectionPool(protocol=2).make_connection(), "_writer")  # type: ignore[no-untyped-call, unused-ignore]

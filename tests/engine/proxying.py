"""A TCP proxy in front of a server, for tests: slow, lossy or cut, and it can be pointed elsewhere.

Runs in a thread of its own, so it works while the test's loop is busy. Must not
know what passes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from types import TracebackType
from typing import Self

CHUNK = 65536
PAUSE_S = 0.005
LOST_S = 0.2
"""Linux sends a packet that nobody confirmed again after so long, at least."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 s: closing discards what is under way and sends RST instead of FIN."""


class Proxy:
    """Forwards 127.0.0.1:`port` to `target`, a port too; a name whose address changes is a `target` that changes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.paused = False
        """Nothing passes, and nothing is closed."""
        self.bytes_per_s = math.inf
        """Of each connection, in either direction."""
        self.delay_s = 0.0
        """Of each piece, in either direction."""
        self.lost_share = 0.0
        """Of pieces that come `LOST_S` late, as TCP makes of a packet that was lost."""
        self.cut: set[str] = set()
        """Directions in which nothing passes, "there" or "back"; when it ends, TCP brings what was sent meanwhile."""
        self._chance = random.Random(1)
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._listening = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    @property
    def url(self) -> str:
        """Return the address of a Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def reset(self) -> int:
        """Reset all connections, return how many there were."""

        async def resetting() -> int:
            writers, self._open = self._open, set()
            for writer in writers:
                with contextlib.suppress(OSError):  # closed this moment
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()
            return len(writers) // 2

        return asyncio.run_coroutine_threadsafe(resetting(), self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stopped is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopped.wait()
        server.close()
        for writer in self._open:
            writer.transport.abort()
        forwarding = asyncio.all_tasks() - {asyncio.current_task()}
        if forwarding:
            await asyncio.wait(forwarding)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, behind}
        await asyncio.gather(self._pump(reader, behind, "there"), self._pump(behind_reader, writer, "back"))
        self._open -= {writer, behind}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                lost_s = LOST_S if self._chance.random() < self.lost_share else 0.0
                await asyncio.sleep(len(chunk) / self.bytes_per_s + self.delay_s + lost_s)
                while self.paused or way in self.cut:
                    await asyncio.sleep(PAUSE_S)
                writer.write(chunk)
                await writer.drain()
        writer.close()

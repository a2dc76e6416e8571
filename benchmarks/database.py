"""A simulated database that slows down under load: a process of its own behind a socket.

Owns the one queue of all callers, whoever they are: with n calls at once each
takes 50 ms x (1 + (n/8)^2), so it does most with 8 and a sixth of that with 100.
`python -m benchmarks.database SOCKET` serves; `query` asks. Must not know who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time

VARIABLE = "BENCH_DATABASE"
"""Names the socket to handlers."""
ALONE_S = 0.05
BEST = 8
"""So many calls at once give the most answers per second: 80."""
ANSWER = b"row\n"


class Database:
    """All calls go forward at the same speed, so they end in the order in which they came.

    A virtual clock counts the share of a call that is done: it moves by 1 in the
    time that a call takes while n are there, and a call ends 1 after its start.
    """

    def __init__(self) -> None:
        self._done = 0.0
        self._at_s = time.monotonic()
        self._calls: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def call(self) -> None:
        """Returns when the call is done; cancelling it takes it out of the load."""
        self._advance()
        ended = asyncio.get_running_loop().create_future()
        self._calls[ended] = self._done + 1
        self._plan()
        try:
            await ended
        finally:
            if ended in self._calls:
                self._advance()
                del self._calls[ended]
                self._plan()

    @property
    def takes_s(self) -> float:
        """Returns what a call takes with as many as there are now."""
        return float(ALONE_S * (1 + (len(self._calls) / BEST) ** 2))

    def _advance(self) -> None:
        now_s = time.monotonic()
        if self._calls:
            self._done += (now_s - self._at_s) / self.takes_s
        self._at_s = now_s

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first = next(iter(self._calls.values()), None)
        if first is not None:
            wait_s = max(0.0, first - self._done) * self.takes_s
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._end)

    def _end(self) -> None:
        self._advance()
        ended = [call for call, end in self._calls.items() if end <= self._done + 1e-9]
        for call in ended:
            del self._calls[call]
            if not call.done():
                call.set_result(None)
        self._plan()


async def query(socket: str = "") -> None:
    """Asks the database, by default the one of the environment; a caller that is cancelled hangs up."""
    reader, writer = await asyncio.open_unix_connection(socket or os.environ[VARIABLE])
    try:
        if await reader.readline() != ANSWER:
            raise ConnectionResetError("the database hung up")
    finally:
        writer.close()


async def serve(socket: str) -> None:
    """Serves for ever: a connection is a call, and hanging up ends it."""
    database = Database()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as group:
            call, gone = group.create_task(database.call()), group.create_task(_hangs_up(reader))
            await asyncio.wait([call, gone], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                writer.write(ANSWER)
            call.cancel()
            gone.cancel()
        writer.close()

    server = await asyncio.start_unix_server(answer, socket, backlog=4096)
    async with server:
        await server.serve_forever()


async def _hangs_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1]))

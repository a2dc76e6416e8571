"""Clients that ask without a pause over kept connections, and count what became of every request.

Owns the bytes on the wire: a test has to tell an answer from a connection that was
cut, and at which byte. Nobody asks twice. Must not know what is done to the system.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LIMIT_S = 40.0
REFUSED = "not taken up"
"""No connection, or one that ended before its first answer: Docker's proxy takes what nobody listens for."""
CUT, BROKEN, SILENT = "cut before the first byte", "cut inside the answer", "no answer"


@dataclass(slots=True)
class ConcurrentClients:
    """`outcomes` counts (method, status or how it failed); `failures` says when, and what was answered."""

    port: int
    paths: tuple[str, ...]
    posts: tuple[str, ...] = ()
    post_share: int = 20
    """Every so-manieth request is a POST."""
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[float, str, str, str]] = field(default_factory=list)
    slowest_s: float = 0
    ended: bool = False
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def asked(self, method: str) -> int:
        return sum(count for (asked, _), count in self.outcomes.items() if asked == method)

    def failed(self, method: str) -> dict[str, int]:
        """Return how many ended otherwise than with 200, by how."""
        return {how: count for (asked, how), count in self.outcomes.items() if asked == method and how != "200"}

    async def until_asked(self, gets: int) -> None:
        while self.asked("GET") < gets:
            await asyncio.sleep(0.1)

    async def run(self, users: int) -> None:
        """Ask until `ended`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(users):
                group.create_task(self._ask_on())

    async def _ask_on(self) -> None:
        while not self.ended:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self._note("GET", REFUSED, "")
                await asyncio.sleep(0.05)
                continue
            kept = False
            try:
                while not self.ended and await self._ask(reader, writer, kept):
                    kept = True
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bool) -> bool:
        """Send one request, note its outcome; return whether the connection may be used again."""
        number = next(self._numbers)
        is_post = bool(self.posts) and number % self.post_share == 0
        method, paths = ("POST", self.posts) if is_post else ("GET", self.paths)
        path = paths[number % len(paths)]
        start_s, head = time.monotonic(), b""
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: client\r\nX-Request-ID: client-{number}\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                writer.write(request.encode())
                head = await reader.readexactly(1)
                head = (head + await reader.readuntil(b"\r\n\r\n")).lower()
                body = await reader.readexactly(int(_value(head, b"content-length")))
        except TimeoutError:
            self._note(method, SILENT, f"client-{number}")
            return False
        except (OSError, asyncio.IncompleteReadError):
            self._note(method, BROKEN if head else CUT if kept else REFUSED, f"client-{number}")
            await asyncio.sleep(0.05)
            return False
        self._note(method, head[9:12].decode(), f"client-{number} {body[:200]!r}")
        self.slowest_s = max(self.slowest_s, time.monotonic() - start_s)
        return _value(head, b"connection") != b"close"

    def _note(self, method: str, how: str, what: str) -> None:
        self.outcomes[method, how] += 1
        if how != "200":
            self.failures.append((time.time(), method, how, what))


@asynccontextmanager
async def concurrent_clients(
    port: int, paths: tuple[str, ...], posts: tuple[str, ...] = (), users: int = 16
) -> AsyncIterator[ConcurrentClients]:
    """Have clients ask while the block runs; what is under way at its end is still counted."""
    asking = ConcurrentClients(port, paths, posts)
    async with asyncio.TaskGroup() as group:
        group.create_task(asking.run(users))
        try:
            yield asking
        finally:
            asking.ended = True


def _value(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else b"0"

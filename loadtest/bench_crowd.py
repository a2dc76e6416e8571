"""Thousands of requests that wait at once, from a process of their own, and the handle to it.

`python -m loadtest.bench_crowd PORT PATH COUNT REPEAT` opens COUNT connections
and sends one request on each; with REPEAT=1 the next as soon as one is answered.
It says when all are sent, and counts on demand. Must not know what answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from floodgate.run.processes import with_parent_death_signal

CRLF = b"\r\n"
OPENING = 50
PAUSE_S = 0.05
"""After so many connections: a thousand a second is no peak of its own, and fills no backlog."""
CONNECT_S = 30.0
PATIENCE_S = 60.0


class CrowdFailed(Exception):
    """A client is gone, or not answered."""


@dataclass(slots=True)
class Tally:
    """What became of the requests so far; times are seconds of the machine's monotonic clock."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    """Answers other than 200, and connections that broke."""
    first_answer_s: float = 0.0
    last_answer_s: float = 0.0
    example: str = ""
    """The first failure."""

    @property
    def unanswered(self) -> int:
        return self.sent - self.answered - self.failed


class Crowd:
    """The handle to a running crowd."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tally(self) -> Tally:
        """Return what it counts now."""
        return self._ask("tally")

    def stop(self) -> Tally:
        """Send nothing more, wait for all answers, return the final count."""
        return self._ask("stop")

    def all_sent(self) -> None:
        """Wait until every request is sent."""
        self._read()

    def _ask(self, word: str) -> Tally:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Tally:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CrowdFailed("the crowd of clients ended; its lines above say why")
        return Tally(**json.loads(line))


@contextlib.contextmanager
def crowd(port: int, path: str, count: int, *, repeat: bool) -> Iterator[Crowd]:
    """Let so many clients ask for `path`; they are gone after the block."""
    command = [sys.executable, "-m", "loadtest.bench_crowd", str(port), path, str(count), str(int(repeat))]
    process = subprocess.Popen(
        with_parent_death_signal(command, signal.SIGKILL), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield Crowd(process)
        finally:
            process.kill()


class _Members:
    """The far side of the handle: all connections, and one tally."""

    def __init__(self, port: int, path: str, repeat: bool) -> None:
        self.tally = Tally()
        self.repeat = repeat
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.idle = asyncio.Event()

    def count(self, failure: str = "") -> None:
        now_s = time.monotonic()
        self.tally.first_answer_s = self.tally.first_answer_s or now_s
        self.tally.last_answer_s = now_s
        if failure:
            self.tally.failed += 1
            self.tally.example = self.tally.example or failure
        else:
            self.tally.answered += 1
        if self.tally.unanswered == 0:
            self.idle.set()


class _Member(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, members: _Members) -> None:
        self._members = members
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type

    def ask(self) -> None:
        assert self._transport is not None
        self._waiting = True
        self._members.tally.sent += 1
        self._transport.write(self._members.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(CRLF * 2)
        if not end or len(body) < _length(head):
            return
        self._received, self._waiting = b"", False
        if self._members.repeat:
            self.ask()
        good = head.startswith(b"HTTP/1.1 200 ")
        self._members.count("" if good else f"{head.split(CRLF)[0]!r} {body[:300]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._waiting = False
            self._members.count(f"the connection broke: {exc!r}")


def _length(head: bytes) -> int:
    for line in head.lower().split(CRLF):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _attend(port: int, path: str, count: int, repeat: bool) -> None:
    members, loop = _Members(port, path, repeat), asyncio.get_running_loop()

    async def enter() -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, member = await loop.create_connection(lambda: _Member(members), "127.0.0.1", port)
        except OSError as error:  # a time-out is one
            members.tally.sent += 1
            members.count(f"cannot connect: {error!r}")
        else:
            member.ask()

    async with asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(enter())
            if number % OPENING == 0:
                await asyncio.sleep(PAUSE_S)
    _say(members.tally)
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := (await words.readline()).strip():
        if word == b"stop":
            members.repeat = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S if members.tally.unanswered else 0):
                    members.idle.clear()
                    await members.idle.wait()
        _say(members.tally)


def _say(tally: Tally) -> None:
    print(json.dumps(asdict(tally)), flush=True)


def main() -> None:
    """Attend until the handle is gone."""
    port, path, count, repeat = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_attend(int(port), path, int(count), repeat == "1"))


if __name__ == "__main__":
    main()

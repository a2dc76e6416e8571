"""Thousands of requests that wait at once, from a process of their own, and the handle to it.

`python -m benchmarks.concurrent_clients PORT PATH COUNT REPEAT` opens COUNT connections
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

import uvloop

from benchmarks.openloop import Connection, Response
from floodgate.run.processes import with_parent_death_signal

OPENING = 50
PAUSE_S = 0.05
"""After so many connections: a thousand a second is no peak of its own, and fills no backlog."""
CONNECT_S = 30.0
PATIENCE_S = 60.0


class ClientsFailed(Exception):
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


class ConcurrentClients:
    """The handle to the process of the clients."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tally(self) -> Tally:
        """Returns what it counts now."""
        return self._ask("tally")

    def stop(self) -> Tally:
        """Sends nothing more, waits for all answers, returns the final count."""
        return self._ask("stop")

    def all_sent(self) -> None:
        """Waits until every request is sent."""
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
            raise ClientsFailed("the process of the clients ended; its lines above say why")
        return Tally(**json.loads(line))


@contextlib.contextmanager
def concurrent_clients(port: int, path: str, count: int, *, repeat: bool) -> Iterator[ConcurrentClients]:
    """Lets so many clients ask for `path`; they are gone after the block."""
    command = [sys.executable, "-m", "benchmarks.concurrent_clients", str(port), path, str(count), str(int(repeat))]
    process = subprocess.Popen(
        with_parent_death_signal(command, signal.SIGKILL), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield ConcurrentClients(process)
        finally:
            process.kill()


class _Clients:
    """The far side of the handle: all connections, and one tally."""

    def __init__(self, port: int, path: str, repeat: bool) -> None:
        self.tally = Tally()
        self.repeat = repeat
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.idle = asyncio.Event()

    def ask(self, connection: Connection) -> None:
        self.tally.sent += 1
        connection.ask(self.request)

    def answered(self, connection: Connection, response: Response) -> None:
        if self.repeat and response.reusable:
            self.ask(connection)
        self.count("" if response.status == 200 else f"{response.status} {response.body[:300]!r}")

    def lost(self, connection: Connection, reason: str) -> None:
        if connection.waiting:
            self.count(f"the connection broke: {reason}")

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


async def _attend(port: int, path: str, count: int, repeat: bool) -> None:
    clients, loop = _Clients(port, path, repeat), asyncio.get_running_loop()

    async def enter() -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(lambda: Connection(clients), "127.0.0.1", port)
        except OSError as error:  # a time-out is one
            clients.tally.sent += 1
            clients.count(f"cannot connect: {error!r}")
        else:
            clients.ask(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(enter())
            if number % OPENING == 0:
                await asyncio.sleep(PAUSE_S)
    _say(clients.tally)
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := (await words.readline()).strip():
        if word == b"stop":
            clients.repeat = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S if clients.tally.unanswered else 0):
                    clients.idle.clear()
                    await clients.idle.wait()
        _say(clients.tally)


def _say(tally: Tally) -> None:
    print(json.dumps(asdict(tally)), flush=True)


def main() -> None:
    """Attends until the handle is gone."""
    port, path, count, repeat = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_attend(int(port), path, int(count), repeat == "1"))


if __name__ == "__main__":
    main()

"""Two gateways and two workers as they are served, for faults: each a gunicorn master with one process.

Owns their start, their signals and their end, and what Redis still holds of them. Must not know what is asked of them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.notes import VARIABLE as NOTES
from benchmarks.testbed import HANDLERS, HOST, LEASE_S, NAMESPACE, PORTS, READY_S, REDIS_URL, ROOT, free_port
from floodgate.broker.keys import CATALOGUE, Keys
from floodgate.run.processes import with_parent_death_signal

ROUTES = "benchmarks.handlers.faults"
LEASE = 1.0
"""Of the fleet, in seconds: a fault is over soon."""
END_S = 10.0
ENDS = {kind.name: kind.ttl_s for kind in CATALOGUE}
OF_TASKS = ("slots", "tasks", "attempts", "waiting", "parked", "stranded", "running", "holders")
"""Keys that are gone when nothing is in flight."""


class Process(Protocol):
    """What is asked of a process, whoever its parent is."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Start = Callable[[Sequence[str], Mapping[str, str], Path], Process]


def started(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
    """Starts gunicorn in a session of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            with_parent_death_signal([sys.executable, "-m", "gunicorn", *arguments], signal.SIGKILL),
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


@dataclass(slots=True)
class Member:
    """One master; `serving` is its process, which it replaces when it dies."""

    role: str
    port: int
    log: Path
    env: Mapping[str, str]
    start: Start
    process: Process | None = None

    @property
    def name(self) -> str:
        return self.log.stem

    def up(self) -> None:
        self.process = self.start(("-c", f"{self.role}_app/gunicorn_conf.py"), self.env, self.log)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def serving(self) -> psutil.Process | None:
        """Returns the process that serves; none between the death of one and the start of the next."""
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.process.pid).children() if self.process else []
            return next((child for child in children if child.status() != psutil.STATUS_ZOMBIE), None)
        return None

    def hit(self, sig: int) -> None:
        """Signals the serving process, as an accident does."""
        if (serving := self.serving) is not None:
            with contextlib.suppress(psutil.Error):
                serving.send_signal(sig)

    def tell(self, sig: int) -> None:
        """Signals the master, as whoever runs it does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, sig)

    def ended(self, limit_s: float) -> bool:
        """Waits until the master has ended, and tells whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process is not None:
                self.process.wait(limit_s)
        return not self.alive

    def kill(self) -> None:
        """Kills master and serving process in one moment."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ready(self) -> bool:
        return self.status("/-/ready") == 200

    def status(self, path: str) -> int:
        """Returns the status of a path; 0 when nobody answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status
        return 0

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass(slots=True)
class Fleet:
    """Gateways and workers of one namespace."""

    directory: Path
    namespace: str
    gateways: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)

    @property
    def notes(self) -> Path:
        return self.directory / "notes"

    @property
    def members(self) -> list[Member]:
        return [*self.gateways, *self.workers]

    def serving(self) -> dict[str, int]:
        """Returns the process that serves, by member: equal before and after where no process may end."""
        return {member.name: serving.pid for member in self.members if (serving := member.serving) is not None}

    def ready(self) -> bool:
        return all(member.ready() for member in self.members)

    def resident_kb(self) -> dict[str, float]:
        """Returns the resident memory of every serving process."""
        return {member.name: each.memory_info().rss / 1024 for member in self.members if (each := member.serving)}

    def slots(self, client: Redis) -> int:
        keys = Keys(self.namespace)
        found = client.scan_iter(match=keys.slots("*"), count=1000)
        return sum(int(client.zcard(key)) for key in found)

    def await_ready(self, limit_s: float = READY_S) -> None:
        """Waits until all are ready; raises `AssertionError` with the log of who is not."""
        until_s = time.monotonic() + limit_s
        while not self.ready():
            late = [f"{one.name} is not ready:\n{one.said()[-3000:]}" for one in self.members if not one.ready()]
            assert time.monotonic() < until_s, "".join(late)
            time.sleep(0.05)


@contextlib.contextmanager
def fleet(
    directory: Path,
    gateways_url: str,
    workers_url: str | None = None,
    *,
    namespace: str = "faults",
    start: Start = started,
    count: int = 2,
    env: Mapping[str, str] = {},
) -> Iterator[Fleet]:
    """Runs the members until the block ends; those of a role reach Redis by an address of their own."""
    made = Fleet(directory, namespace)
    directory.mkdir(parents=True, exist_ok=True)
    # A drain that is longer than every time-out, and short enough for a test of it.
    ours = {NAMESPACE: namespace, HANDLERS: ROUTES, LEASE_S: str(LEASE), NOTES: str(made.notes)}
    ours |= {"FLOODGATE_DRAIN_S": "6", "FLOODGATE_SHUTDOWN_DELAY_S": "1", "WEB_CONCURRENCY": "1"}
    urls = {"gateway": gateways_url, "worker": workers_url or gateways_url}
    for role, members in (("worker", made.workers), ("gateway", made.gateways)):
        for number in range(count):
            port = free_port()
            given = {**os.environ, **ours, REDIS_URL: urls[role], PORTS[role]: str(port), **env}
            members.append(Member(role, port, directory / f"{role}-{number}.log", given, start))
    try:
        for member in made.members:
            member.up()
        made.await_ready()
        yield made
    finally:
        _end(made.members)


def _end(members: Sequence[Member]) -> None:
    for member in members:
        member.hit(signal.SIGCONT)  # a frozen process would not hear that it is to end
        member.tell(signal.SIGTERM)
    until_s = time.monotonic() + END_S
    for member in members:
        member.ended(max(0.1, until_s - time.monotonic()))
        member.kill()


def left_behind(client: Redis, namespace: str) -> list[str]:
    """Returns a line for every key that should have ended by now, or never will; nothing may be in flight."""
    keys, lines = Keys(namespace), []
    for key in client.scan_iter(match=f"{keys.prefix}*", count=1000):
        name = key.decode().removeprefix(keys.prefix)
        kind = name.partition(":")[0]
        if kind not in ENDS:
            lines.append(f"{name}: not in the catalogue")
        elif kind in OF_TASKS:
            lines.append(f"{name}: of a task, and there is none")
        elif ENDS[kind] is not None and client.ttl(key) == -1:
            lines.append(f"{name}: never ends")
    return lines


def drained(client: Redis, fleet: Fleet, limit_s: float) -> int:
    """Waits until no slot is taken, and returns how many still are after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(RedisError):
            taken = fleet.slots(client)
            if taken == 0 or time.monotonic() > until_s:
                return taken
        assert time.monotonic() < until_s + 1, "Redis does not say how many slots are taken"
        time.sleep(0.05)

"""A whole system for a test: gateways and workers as real processes against a real server.

Owns their start, their logs and their end; every process has a session of its
own. Must not know which handlers run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.run.processes import with_parent_death_signal
from tests.engine.leaks import leaks
from tests.engine.system import forking

ROOT = Path(__file__).parents[3]
READY_S = 15.0
END_S = 8.0
LEASE_S = 1
EDGE_HANDLERS = "tests.engine.system.edge_handlers"
ROLLING = "tests.engine.system.rolling_handlers"


class Process(Protocol):
    """What every process has, whoever its parent is."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


@dataclass(frozen=True, slots=True)
class App:
    """One running process; `url` ends without a slash."""

    process: Process
    url: str
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def ready(self) -> bool:
        return self.status("/-/ready") == 200

    def status(self, path: str, at: str = "127.0.0.1", **headers: str) -> int:
        """Return the status of a path, asked over a connection of its own; 0 when nobody listens or it was cut."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url.replace("127.0.0.1", at) + path, headers=headers, timeout=5).status_code
        return 0

    def lines(self) -> list[dict[str, Any]]:
        """Return its log so far; what is no JSON stands in `event`."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": line})
        return lines

    def said(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the lines that have all these fields."""
        return [line for line in self.lines() if all(line.get(name) == value for name, value in wanted.items())]

    def signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sig)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Gunicorn(App):
    """A running master; signals go to its whole group."""

    process: subprocess.Popen[bytes]

    def children(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]


@contextlib.contextmanager
def gunicorn(configuration: str | Path, port: int, log: Path, env: Mapping[str, str]) -> Iterator[Gunicorn]:
    """Start a master that listens on `port`; it is not ready yet, and killed after the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(configuration)],
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    app = Gunicorn(process, f"http://127.0.0.1:{port}", log)
    try:
        yield app
    finally:
        app.kill()


def free_port() -> int:
    (port,) = free_ports(1)
    return port


def free_ports(number: int) -> list[int]:
    """Return different ports that nobody listens on."""
    with contextlib.ExitStack() as probes:
        opened = [probes.enter_context(socket.socket()) for _ in range(number)]
        for probe in opened:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in opened]


@dataclass(slots=True)
class System:
    """Processes of one namespace; `env` is what all of them get."""

    directory: Path
    env: Mapping[str, str]
    apps: list[App] = field(default_factory=list)
    as_programs: bool = False
    """Started by their command lines, by which some programs know them; else as forks, which is quicker."""

    def gateway(self, *, wait: bool = True, factory: str = "gateway_app.main:build", **env: str) -> App:
        return self._start(factory, wait, env)

    def worker(self, *, wait: bool = True, factory: str = "worker_app.main:build", **env: str) -> App:
        return self._start(factory, wait, env)

    @property
    def notes(self) -> Path:
        return Path(self.env["NOTES_FILE"])

    def noted(self, tag: str) -> list[str]:
        """Return the events that handlers noted under a tag, in order."""
        return [line.split()[0] for line in self._notes() if line.split()[1] == tag]

    def pids(self, tag: str) -> list[int]:
        """Return who noted something under a tag, in order."""
        return [int(line.split()[3]) for line in self._notes() if line.split()[1] == tag]

    def by_pid(self, pid: int) -> App:
        return next(app for app in self.apps if app.process.pid == pid)

    def stop(self) -> None:
        """Ask all processes to end; kill what does not."""
        for app in self.apps:
            app.signal(signal.SIGTERM)
        limit_s = time.monotonic() + END_S
        for app in self.apps:
            with contextlib.suppress(subprocess.TimeoutExpired):
                app.process.wait(max(0.1, limit_s - time.monotonic()))
            app.kill()

    def _notes(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def _start(self, factory: str, wait: bool, env: Mapping[str, str]) -> App:
        port = free_port()
        arguments = ["--factory", factory, "--port", str(port), "--log-level", "warning"]
        log = self.directory / f"{factory.partition('_')[0]}-{len(self.apps)}.log"
        given = {**os.environ, **self.env, **env}
        start = self._program if self.as_programs else forking.start
        process: Process = start(arguments, given, log)
        app = App(process, f"http://127.0.0.1:{port}", log)
        self.apps.append(app)
        if wait:
            await_ready(app)
        return app

    def _program(self, arguments: list[str], env: Mapping[str, str], log: Path) -> Process:
        command = [sys.executable, "-m", "uvicorn", *arguments]
        with log.open("wb") as file:
            return subprocess.Popen(
                with_parent_death_signal(command, signal.SIGKILL),
                cwd=ROOT,
                env=env,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


def resident(app: App) -> int:
    """Return the bytes of memory that a process holds."""
    (line,) = [line for line in Path(f"/proc/{app.process.pid}/status").read_text().splitlines() if "VmRSS" in line]
    return int(line.split()[1]) * 1024


def run_module(module: str, *arguments: str, limit_s: float, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` in the checkout to its end; what it prints is kept."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


@contextlib.contextmanager
def system(
    directory: Path, redis_url: str, namespace: str, handlers: str = EDGE_HANDLERS, **env: str
) -> Iterator[System]:
    """Return a system without processes; whatever is started ends with the block."""
    given = {
        "REDIS_URL": redis_url,
        "FLOODGATE_NAMESPACE": namespace,
        "FLOODGATE_HANDLERS": handlers,
        "FLOODGATE_LEASE_S": str(LEASE_S),
        "FLOODGATE_DRAIN_S": "20",
        "NOTES_FILE": str(directory / "notes"),
    }
    running = System(directory, {**given, **env})
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def served(
    server: EmbeddedServer,
    factory: pytest.TempPathFactory,
    handlers: str = EDGE_HANDLERS,
    *,
    gateway: str = "gateway_app.main:build",
    of_worker: Mapping[str, str] = {},
    **settings: object,
) -> Iterator[System]:
    """Return one gateway, the first of `apps`, and one worker, both ready; at the end no key is left behind."""
    name = f"s{uuid.uuid4().hex[:10]}"
    env = {f"FLOODGATE_{setting.upper()}": str(value) for setting, value in settings.items()}
    with system(factory.mktemp(name), server.url, name, handlers, **env) as running:
        apps = running.gateway(wait=False, factory=gateway), running.worker(wait=False, **of_worker)
        for app in apps:
            await_ready(app)
        yield running
    with contextlib.closing(Redis.from_url(server.url)) as client:
        assert leaks(client, Keys(name)) == []


def await_ready(app: App) -> None:
    """Wait until the app is ready; when it does not get there, fail with its log and where it stands."""
    limit_s = time.monotonic() + READY_S
    while not app.ready:
        if not app.alive or time.monotonic() > limit_s:
            app.signal(signal.SIGABRT)
            app.process.wait()
            raise AssertionError(f"{app.log.name} did not get ready:\n{app.log.read_text()}")
        time.sleep(0.02)


def until(met: Callable[[], bool], limit_s: float = 5.0) -> float:
    """Wait until `met`, return the seconds it took; fail after `limit_s`."""
    start = time.monotonic()
    while not met():
        assert time.monotonic() - start < limit_s, "it did not come to pass"
        time.sleep(0.02)
    return time.monotonic() - start


async def until_async(met: Callable[[], bool], limit_s: float = 5.0) -> float:
    """`until`, while requests of the test are under way."""
    return await asyncio.to_thread(until, met, limit_s)

"""Gateway and workers of the benchmark: real processes under gunicorn, with the configuration that they ship.

Owns their start, their end, and what the kernel says of them. One serving
process each. Must not know what is asked of them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from floodgate.run.processes import with_parent_death_signal
from loadtest.bench_server import Server

ROOT = Path(__file__).parents[1]
READY_S = 30.0
END_S = 10.0
LOG_CHARACTERS = 3000
GATEWAY = "loadtest.bench_gateway:build()"
BARE = "loadtest.bench_gateway:bare()"
ACCESS_LOG = {"BENCH_ACCESS_LOG": "1"}
"""With it, the bare application writes uvicorn's line per request, as ours writes one of its own."""


class AppFailed(Exception):
    """An app did not get ready; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class App:
    """One gunicorn master with one serving process."""

    port: int
    serving: psutil.Process
    log: IO[bytes]

    def cpu_s(self) -> float:
        """Return the processor time of the serving process, to the nanosecond; threads that ended are not in it.

        `cpu_times` counts in hundredths of a second: at one connection that is ten requests.
        """
        spent_ns = []
        for task in Path(f"/proc/{self.serving.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
                spent_ns.append(int(task.read_text().split()[0]))
        if not spent_ns:  # another system than Linux, or a process that is gone
            times = self.serving.cpu_times()
            return times.user + times.system
        return sum(spent_ns) / 1e9

    def reads_and_writes(self) -> int:
        """Return how often the serving process has called the kernel to read or write anything."""
        counters = self.serving.io_counters()
        return counters.read_count + counters.write_count

    def said(self) -> str:
        """Return the log; without `seek`, since the processes write at the same offset."""
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    def rss_kb(self) -> float:
        """Return the resident memory of the serving process."""
        return self.serving.memory_info().rss / 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What gateway, workers and server have used up to now."""

    gateway_s: float
    worker_s: float
    redis_s: float
    sent: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time and commands per request."""

    gateway_us: float
    worker_us: float
    redis_us: float
    commands: float

    @property
    def total_us(self) -> float:
        return self.gateway_us + self.worker_us + self.redis_us

    def __str__(self) -> str:
        return (
            f"µs per request: gateway {self.gateway_us:.0f}, worker {self.worker_us:.0f}, "
            f"Redis {self.redis_us:.0f}; {self.commands:.2f} commands"
        )


@dataclass(frozen=True, slots=True)
class System:
    """One gateway and its workers, in a namespace of their own."""

    server: Server
    gateway: App
    workers: tuple[App, ...]

    def read(self) -> Reading:
        worker_s = sum(worker.cpu_s() for worker in self.workers)
        return Reading(self.gateway.cpu_s(), worker_s, self.server.cpu_s(), self.server.sent())

    def cost_since(self, start: Reading, requests: int) -> Cost:
        """Return what each of `requests` cost since `start`."""
        now, n = self.read(), max(1, requests)
        return Cost(
            (now.gateway_s - start.gateway_s) * 1e6 / n,
            (now.worker_s - start.worker_s) * 1e6 / n,
            (now.redis_s - start.redis_s) * 1e6 / n,
            (now.sent - start.sent) / n,
        )


@contextlib.contextmanager
def running(server: Server, env: Mapping[str, str] | None = None, *, workers: int = 1) -> Iterator[System]:
    """Run a gateway and workers that are ready; their keys go with them."""
    namespace = f"bench{secrets.token_hex(4)}"
    given = {
        "REDIS_URL": server.url,
        "FLOODGATE_NAMESPACE": namespace,
        "FLOODGATE_HANDLERS": "loadtest.bench_handlers",
    } | dict(env or {})
    try:
        with contextlib.ExitStack() as stack:
            started = tuple(stack.enter_context(app("worker", None, given)) for _ in range(workers))
            yield System(server, stack.enter_context(app("gateway", GATEWAY, given)), started)
    finally:
        server.forget(namespace)


@contextlib.contextmanager
def app(name: str, target: str | None, env: Mapping[str, str]) -> Iterator[App]:
    """Run one app under gunicorn, as `target` if that is not what its configuration names."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", f"{name}_app/gunicorn_conf.py", *([target] if target else [])]
    ours = {f"FLOODGATE_{name.upper()}_PORT": str(port), "WEB_CONCURRENCY": "1", "FLOODGATE_DRAIN_S": "130"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            with_parent_death_signal(command, signal.SIGTERM),
            cwd=ROOT,
            env={**os.environ, **env, **ours},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _gets_ready(process, port):
                log.seek(0)
                said = log.read().decode(errors="replace")[-LOG_CHARACTERS:]
                raise AppFailed(f"the {name} did not get ready:\n{said}")
            (serving,) = psutil.Process(process.pid).children()
            yield App(port, serving, log)
        finally:
            _end(process)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _gets_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    until_s = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until_s:
        if _status(port) == 200:
            return True
        time.sleep(0.05)
    return False


def _status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/-/ready")
        return connection.getresponse().status
    return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

"""The systems under test: workers, gateway, sampler and database, as processes that run what ships.

Owns their start, their environment, their end, the cores that they are pinned to, and what the kernel
and Redis say of them. Must not know what is asked of them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.database import VARIABLE as DATABASE
from benchmarks.notes import VARIABLE as NOTES
from benchmarks.redis_server import Server
from floodgate.run.processes import with_parent_death_signal

# The names of the apps' settings in the environment; whatever the benchmarks set, they set by these.
REDIS_URL = "REDIS_URL"
NAMESPACE, HANDLERS = "FLOODGATE_NAMESPACE", "FLOODGATE_HANDLERS"
CONCURRENCY, THREADS = "FLOODGATE_WORKER_CONCURRENCY", "FLOODGATE_WORKER_THREADS"
LEASE_S, DRAIN_S = "FLOODGATE_LEASE_S", "FLOODGATE_DRAIN_S"
PORTS = {"gateway": "FLOODGATE_GATEWAY_PORT", "worker": "FLOODGATE_WORKER_PORT"}

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
BARE = "benchmarks.apps:bare()"
ACCESS_LOG = {"BENCH_ACCESS_LOG": "1"}
"""With it, the bare application writes uvicorn's line per request, as the gateway writes one of its own."""
LONG_DRAIN_S = "130"
"""Longer than the longest time-out of a benchmark's handler."""
READY_S = 30.0
END_S = 12.0
METRICS_S = 5.0
REFUSED_BY_QUEUE = re.compile(r'^floodgate_requests_refused_total{.*by="queue".*} (\S+)', re.MULTILINE)
EMPTY_S = 5.0
"""After the last answer: a cancelled handler may still be ending."""
LOG_CHARACTERS = 3000


class AppFailed(Exception):
    """An app did not get ready; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class App:
    """One process group: a gunicorn master with its serving processes, or a process that serves nothing."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    serving: tuple[psutil.Process, ...] = ()

    def signal(self, sig: int) -> None:
        """Signals the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sig)

    def cpu_s(self) -> float:
        """Returns the processor time of the serving processes, to the nanosecond; ended threads are not in it.

        `cpu_times` counts in hundredths of a second: at one connection that is ten requests.
        """
        spent_s = 0.0
        for each in self.serving:
            spent_ns = []
            for task in Path(f"/proc/{each.pid}/task").glob("*/schedstat"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
                    spent_ns.append(int(task.read_text().split()[0]))
            if spent_ns:
                spent_s += sum(spent_ns) / 1e9
            else:  # another system than Linux, or a process that is gone
                times = each.cpu_times()
                spent_s += times.user + times.system
        return spent_s

    def reads_and_writes(self) -> int:
        """Returns how often the serving processes have called the kernel to read or write anything."""
        counters = [each.io_counters() for each in self.serving]
        return sum(each.read_count + each.write_count for each in counters)

    def rss_kb(self) -> float:
        """Returns the resident memory of the serving processes."""
        return sum(each.memory_info().rss for each in self.serving) / 1024

    def said(self) -> str:
        """Returns the log."""
        return self.log.read_text(errors="replace")


class Reading(NamedTuple):
    """What gateway, workers and server have used up to now: seconds of processor time, and commands sent."""

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
class Setup:
    """What to start; `workers` are gunicorn masters with one process each.

    `gateway` is the application that gunicorn serves, None the one that ships. A pinned system has a core
    of its own, the generator and the sampler another one; with `workers_alone` only the workers have it.
    """

    handlers: str = "benchmarks.handlers.bench"
    env: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    gateway: str | None = "benchmarks.apps:beside_direct()"
    gateway_processes: int = 1
    database: bool = False
    sampled: bool = False
    pinned: bool = False
    workers_alone: bool = False

    @property
    def cores(self) -> tuple[int | None, int | None, int | None]:
        """Returns the cores of workers, of gateway and Redis, and of the generator; None where nothing is pinned."""
        if not self.pinned:
            return None, None, None
        theirs, ours = cores()
        return theirs, ours if self.workers_alone else theirs, ours


@dataclass(frozen=True, slots=True)
class System:
    """One gateway and its workers, in a namespace of their own."""

    server: Server
    gateway: App
    workers: Sequence[App] = ()
    namespace: str = ""
    directory: Path = Path()

    @property
    def notes(self) -> Path:
        return self.directory / "notes"

    @property
    def samples(self) -> Path:
        return self.directory / "samples.csv"

    def read(self) -> Reading:
        worker_s = sum(worker.cpu_s() for worker in self.workers)
        return Reading(self.gateway.cpu_s(), worker_s, self.server.cpu_s(), self.server.sent())

    def cost_since(self, start: Reading, requests: int) -> Cost:
        """Returns what each of `requests` cost since `start`."""
        each = [(now - before) / max(1, requests) for now, before in zip(self.read(), start, strict=True)]
        return Cost(each[0] * 1e6, each[1] * 1e6, each[2] * 1e6, each[3])

    def slots_left(self) -> int:
        """Returns how many slots are still taken, once a moment has passed for the last handlers to end."""
        limit_s = time.monotonic() + EMPTY_S
        while (taken := self.server.slots(self.namespace)) and time.monotonic() < limit_s:
            time.sleep(0.05)
        return taken

    def refusals_asked(self) -> int:
        """Returns how many requests were refused by Redis and not from memory, as the gateway counts them."""
        with urllib.request.urlopen(f"http://{HOST}:{self.gateway.port}/-/metrics", timeout=METRICS_S) as answer:
            text = answer.read().decode()
        return int(sum(map(float, REFUSED_BY_QUEUE.findall(text))))


@contextlib.contextmanager
def running(server: Server, setup: Setup | None = None, directory: Path | None = None) -> Iterator[System]:
    """Runs what the setup says until the block ends, last started first; its keys go with it."""
    setup = setup or Setup()
    namespace = f"bench{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        stack.callback(server.forget, namespace)
        directory = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        workers_core, gateway_core, our_core = setup.cores
        env = {REDIS_URL: server.url, NAMESPACE: namespace, HANDLERS: setup.handlers, NOTES: str(directory / "notes")}
        env |= {DATABASE: database_path(directory)} | dict(setup.env)
        if setup.database:
            stack.enter_context(database(directory, our_core))
        workers = tuple(
            stack.enter_context(app("worker", env, name=f"worker-{n}", directory=directory, core=workers_core))
            for n in range(setup.workers)
        )
        gateway = stack.enter_context(
            app(
                *("gateway", env),
                target=setup.gateway,
                processes=setup.gateway_processes,
                directory=directory,
                core=gateway_core,
            )
        )
        system = System(server, gateway, workers, namespace, directory)
        if setup.sampled:
            command = ("benchmarks.sampler", server.url, namespace, str(system.samples))
            stack.enter_context(process("sampler", command, {}, directory, our_core))
        yield system


@contextlib.contextmanager
def app(
    role: str,
    env: Mapping[str, str],
    *,
    target: str | None = None,
    processes: int = 1,
    name: str = "",
    directory: Path | None = None,
    core: int | None = None,
) -> Iterator[App]:
    """Runs one app under gunicorn, as `target` if that is not what its configuration names, until it is ready."""
    port = free_port()
    command = ("gunicorn", "-c", f"{role}_app/gunicorn_conf.py", *([target] if target else []))
    env = {DRAIN_S: LONG_DRAIN_S} | dict(env) | {PORTS[role]: str(port), "WEB_CONCURRENCY": str(processes)}
    with contextlib.ExitStack() as stack:
        directory = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = stack.enter_context(process(name or role, command, env, directory, core))
        if not _gets_ready(started.process, port):
            raise AppFailed(f"the {role} did not get ready:\n{started.said()[-LOG_CHARACTERS:]}")
        yield replace(started, port=port, serving=_serving(started.process, processes))


@contextlib.contextmanager
def database(directory: Path, core: int | None = None) -> Iterator[None]:
    """Runs the simulated database until the block ends."""
    with process("database", ("benchmarks.database", database_path(directory)), {}, directory, core):
        until_s = time.monotonic() + READY_S
        while not (directory / "db").exists() and time.monotonic() < until_s:
            time.sleep(0.02)
        yield


def database_path(directory: Path) -> str:
    """Returns the database's socket as processes name it: a socket's path has to be short, so from where they run."""
    return os.path.relpath(directory / "db", ROOT)


@contextlib.contextmanager
def process(
    name: str, command: Sequence[str], env: Mapping[str, str], directory: Path, core: int | None = None
) -> Iterator[App]:
    """Runs a module of Python in a process group of its own, with its log in the directory."""
    log = directory / f"{name}.log"
    with log.open("wb") as file, pinned(core):
        started = subprocess.Popen(
            with_parent_death_signal([sys.executable, "-m", *command], signal.SIGTERM),
            cwd=ROOT,
            env=os.environ | dict(env),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    running = App(started, log)
    try:
        yield running
    finally:
        running.signal(signal.SIGCONT)  # a frozen process would not hear that it is to end
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(END_S)
        running.signal(signal.SIGKILL)
        started.wait()


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def cores() -> tuple[int, int]:
    """Returns the cores of the system and of the generator; one and the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps this thread, and what it starts meanwhile, on one core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def lift_file_limit() -> int:
    """Lets this process and its children open as many files as allowed, and returns how many: each request is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def _gets_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    until_s = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until_s:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return True
        time.sleep(0.05)
    return False


def _serving(process: subprocess.Popen[bytes], count: int) -> tuple[psutil.Process, ...]:
    """Waits for all serving processes: the first may be ready before the last is started."""
    until_s = time.monotonic() + READY_S
    while len(found := psutil.Process(process.pid).children()) < count and time.monotonic() < until_s:
        time.sleep(0.05)
    return tuple(found)

"""The system under overload: Redis, workers, a gateway, a sampler, each on the core that the method gives it.

Owns start, freezing, killing, end, and what the kernel says of processor time.
Runs both apps under gunicorn with the configuration they ship. Must not know what is asked of it.
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
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.run.processes import with_parent_death_signal
from loadtest.overload_notes import VARIABLE as NOTES

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
READY_S = 30.0
END_S = 12.0
METRICS_S = 5.0
REFUSED_BY_QUEUE = re.compile(r'^floodgate_requests_refused_total{.*by="queue".*} (\S+)', re.MULTILINE)
EMPTY_S = 5.0
"""After the last answer: a cancelled handler may still be ending."""


class AppFailed(Exception):
    """An app did not get ready; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What to start; `workers` are gunicorn masters with one process each."""

    handlers: str
    env: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    gateway_processes: int = 1
    database: bool = False
    workers_alone: bool = False
    """Then everything but the workers shares the generator's core."""


@dataclass(frozen=True, slots=True)
class App:
    """One process with its children, a process group of its own."""

    process: subprocess.Popen[bytes]
    port: int = 0

    def signal(self, sig: int) -> None:
        """Signal the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, sig)

    def cpu_s(self) -> float:
        """Return the processor time of it and its children."""
        master = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (master, *master.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))


@dataclass(frozen=True, slots=True)
class System:
    """A running system in a namespace of its own."""

    directory: Path
    namespace: str
    redis: Any
    gateway: App
    workers: Sequence[App]

    @property
    def notes(self) -> Path:
        return self.directory / "notes"

    @property
    def samples(self) -> Path:
        return self.directory / "samples.csv"

    @property
    def database(self) -> Path:
        return self.directory / "db"

    def slots_left(self) -> int:
        """Return how many slots are still taken, once a moment has passed for the last handlers to end."""
        limit_s = time.monotonic() + EMPTY_S
        while (taken := self._slots()) and time.monotonic() < limit_s:
            time.sleep(0.05)
        return taken

    def refusals_asked(self) -> int:
        """Return how many requests were refused by Redis and not from memory, as the gateway counts them."""
        with urllib.request.urlopen(f"http://{HOST}:{self.gateway.port}/-/metrics", timeout=METRICS_S) as answer:
            text = answer.read().decode()
        return int(sum(map(float, REFUSED_BY_QUEUE.findall(text))))

    def _slots(self) -> int:
        keys = Keys(self.namespace)
        return sum(int(self.redis.zcard(key)) for key in self.redis.scan_iter(match=keys.slots("*"), count=1000))


def cores() -> tuple[int, int]:
    """Return the cores of the system and of the generator; one and the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def lift_file_limit() -> None:
    """Let this process and what it starts open as many files as allowed: every waiting request is a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def running(setup: Setup, directory: Path) -> Iterator[System]:
    """Start everything and wait until it is ready; end it with the block, last started first."""
    directory.mkdir(parents=True)
    lift_file_limit()
    theirs, ours = cores()
    beside = ours if setup.workers_alone else theirs
    with contextlib.ExitStack() as stack:
        with pinned(beside):
            url = os.environ.get("REDIS_URL") or stack.enter_context(EmbeddedServer()).url
        namespace = f"overload{secrets.token_hex(4)}"
        redis = stack.enter_context(contextlib.closing(Redis.from_url(url)))
        stack.callback(_forget, redis, namespace)
        env = {
            "REDIS_URL": url,
            "FLOODGATE_NAMESPACE": namespace,
            "FLOODGATE_HANDLERS": setup.handlers,
            "FLOODGATE_DRAIN_S": "12",
        }
        # A socket's path has to be short, so the database is named from the directory it is started in.
        env |= {NOTES: str(directory / "notes"), "OVERLOAD_DATABASE": os.path.relpath(directory / "db", ROOT)}
        env |= dict(setup.env)

        def start(name: str, core: int, command: Sequence[str], **more: str) -> App:
            with pinned(core):
                return stack.enter_context(_app(name, command, env | more, directory))

        if setup.database:
            start("database", ours, ("loadtest.database", env["OVERLOAD_DATABASE"]))
        workers = [start(f"worker-{n}", theirs, _gunicorn("worker"), WEB_CONCURRENCY="1") for n in range(setup.workers)]
        gateway = start("gateway", beside, _gunicorn("gateway"), WEB_CONCURRENCY=str(setup.gateway_processes))
        start("sampler", ours, ("loadtest.overload_sampling", url, namespace, str(directory / "samples.csv")))
        yield System(directory, namespace, redis, gateway, workers)


def _gunicorn(name: str) -> tuple[str, ...]:
    command = ("gunicorn", "-c", f"{name}_app/gunicorn_conf.py")
    return (*command, "loadtest.overload_gateway:build()") if name == "gateway" else command


@contextlib.contextmanager
def _app(name: str, command: Sequence[str], env: Mapping[str, str], directory: Path) -> Iterator[App]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    serves = command[0] == "gunicorn"
    bind = ("--bind", f"{HOST}:{port}") if serves else ()
    log = directory / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            with_parent_death_signal([sys.executable, "-m", *command, *bind], signal.SIGTERM),
            cwd=ROOT,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    app = App(process, port)
    try:
        if serves and not _gets_ready(app):
            raise AppFailed(f"the {name} did not get ready:\n{log.read_text(errors='replace')[-3000:]}")
        yield app
    finally:
        _end(app)


def _gets_ready(app: App) -> bool:
    until_s = time.monotonic() + READY_S
    while app.process.poll() is None and time.monotonic() < until_s:
        connection = http.client.HTTPConnection(HOST, app.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return True
        time.sleep(0.05)
    return False


def _end(app: App) -> None:
    app.signal(signal.SIGCONT)
    app.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        app.process.wait(END_S)
    app.signal(signal.SIGKILL)
    app.process.wait()


def _forget(redis: Any, namespace: str) -> None:
    for key in redis.scan_iter(match=f"{Keys(namespace).prefix}*", count=1000):
        redis.unlink(key)

"""What one request at a time costs in counts, which do not depend on how fast or how busy the machine is."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from benchmarks.bench_run import Lab
from benchmarks.concurrent_clients import CrowdFailed
from benchmarks.statistics import Figure
from benchmarks.testbed import ACCESS_LOG, BARE, App, app, running

REQUESTS = 1000
SETTLE_S = 1.5
"""A fresh gateway takes its first survey meanwhile, and the route gets its mean run time."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Per request; reads and writes are calls of the kernel, calls are those of functions in the serving thread."""

    gateway_io: float
    worker_io: float
    scripts: float
    commands: float
    calls: float


def counts(lab: Lab) -> list[Figure]:
    """Count what a queued request makes gateway, worker and Redis do, and what the same makes plain FastAPI do."""
    with running(lab.server) as system, app("gateway", BARE, ACCESS_LOG) as bare:
        queue = _counted(lab, "queue", system.gateway, system.workers[0])
        direct = _counted(lab, "direct", system.gateway, system.workers[0])
        plain = _counted(lab, "direct", bare, system.workers[0])
    return [
        _count("scripts per request", queue.scripts, 3.3),
        _count("commands per request, with those that scripts call", queue.commands, 55),
        _count("reads and writes per request, gateway", queue.gateway_io, 9),
        _count("reads and writes per request, worker", queue.worker_io, 5),
        _count("calls of functions, gateway / bare+log", queue.calls / plain.calls, 1.1),
        _count("calls of functions, plain route beside queued ones / bare+log", direct.calls / plain.calls, 1.0),
        Figure("   calls of functions, bare+log", (plain.calls,)),
    ]


def _count(name: str, measured: float, at_most: float) -> Figure:
    return Figure(f"one at a time: {name}", (measured,), at_most=at_most, is_count=True)


def _counted(lab: Lab, path: str, served: App, worker: App) -> Counts:
    with _asking(served.port) as ask:
        _ask_often(ask, path)
        time.sleep(SETTLE_S)
        io, worker_io, (scripts, commands) = served.reads_and_writes(), worker.reads_and_writes(), lab.server.calls()
        _ask_often(ask, path)
        io, worker_io = served.reads_and_writes() - io, worker.reads_and_writes() - worker_io
        after_scripts, after_commands = lab.server.calls()
        # The profiler slows everything down, so it comes last.
        calls = int(ask("calls"))
        _ask_often(ask, path)
        calls = int(ask("calls")) - calls
    n = REQUESTS
    counted = Counts(io / n, worker_io / n, (after_scripts - scripts) / n, (after_commands - commands) / n, calls / n)
    lab.note(f"counts {path}", 0, **asdict(counted))
    lab.say(f"{path}, one at a time: {counted}")
    return counted


@contextlib.contextmanager
def _asking(port: int) -> Iterator[Callable[[str], bytes]]:
    """Keep one connection, and return what asks for a path over it."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:

        def ask(path: str) -> bytes:
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise CrowdFailed(f"/{path} was answered with {response.status}: {body[:200]!r}")
            return body

        yield ask


def _ask_often(ask: Callable[[str], bytes], path: str) -> None:
    for _ in range(REQUESTS):
        ask(path)

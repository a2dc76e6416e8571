"""The parts of `make capacity`: what grows, how each point is measured, and how the curves are kept.

Every point is measured several times, in an order that rotates, and its median
counts. Runs the systems of the benchmark; must not know where the curves are shown.
"""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

from benchmarks.bench_run import BenchRun
from benchmarks.concurrent_clients import concurrent_clients
from benchmarks.testbed import BARE, CONCURRENCY, Setup, System, app, running
from benchmarks.wrk import Load, load

THREADS = (1, 4, 16, 64, 256)
WORKERS = (1, 2, 4, 8)
ROUTES = (1, 10, 100)
WAITING = (10, 1000, 10_000)
PAYLOADS = (100, 1000, 10_000, 100_000, 1_000_000)
BUSY = 64
FEW = 16
"""Connections with a payload: sixteen megabytes under way are enough."""
CONCURRENT, HOLD_S = 8, 0.05
"""A worker that runs eight handlers of 50 ms at once answers 160 requests a second: it waits, and computes little."""
WAITING_CONCURRENT, WAITING_HOLD_S = 200, 0.1
SETTLE_S = 1.0
SHORT = 1
"""So many points of each curve show that everything works."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement, or the median of several; `more` are values of this curve only, by name."""

    x: float
    per_s: float
    p50_ms: float
    p99_ms: float
    more: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.0
    """How far the rates of the measurements were apart, as a share of their median."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one kind, e.g. of the queued handler and of the same one called directly."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the capacity run: its curves over what grows, and how they were measured."""

    name: str
    title: str
    grows: str
    """What `x` is: the head of the table's first column, and the label of the axis."""
    how: str
    curves: Sequence[Curve]
    machine: str

    @property
    def image(self) -> str:
        """Returns the file name of the picture."""
        return f"capacity-{self.name}.png"

    @property
    def spread(self) -> float:
        """Returns the widest spread of a point: what the machine, or whatever else ran there, did to the rates."""
        return max(point.spread for curve in self.curves for point in curve.points)

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{self.name}.json"
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return file

    @classmethod
    def read(cls, file: Path) -> Self:
        kept = json.loads(file.read_text())
        kept["curves"] = [
            Curve(curve["name"], [Point(**point) for point in curve["points"]]) for curve in kept["curves"]
        ]
        return cls(**kept)


def median(points: Sequence[Point]) -> Point:
    """Returns the median of each value of several measurements of one point."""
    rates = [point.per_s for point in points]
    per_s = statistics.median(rates)
    return Point(
        points[0].x,
        per_s,
        statistics.median(point.p50_ms for point in points),
        statistics.median(point.p99_ms for point in points),
        {name: statistics.median(point.more[name] for point in points) for name in points[0].more},
        (max(rates) - min(rates)) / per_s if per_s else 0.0,
    )


Measure = Callable[[], Point]


def threads(bench: BenchRun) -> Part:
    """Measures latency against request threads, beside the same handler without a queue."""
    with running(bench.server) as system:
        _warm(bench, system, "/direct", "/queue")
        curves = _curves(
            bench,
            {
                name: [_wrk(system, (f"/{path}",), count, bench.seconds, count) for count in _of(bench, THREADS)]
                for name, path in (("queued", "queue"), ("called directly", "direct"))
            },
        )
    return Part(
        "threads",
        "Latency against request threads",
        "request threads",
        "A handler that answers at once; each thread sends its next request when it has its answer. One gateway "
        "process, one worker process. Beside it the same handler as a plain route of the same gateway.",
        curves,
        bench.machine,
    )


def nodes(bench: BenchRun) -> Part:
    """Measures the most requests per second against service nodes, each a worker process."""
    env = {"BENCH_HOLD_S": str(HOLD_S), CONCURRENCY: str(CONCURRENT)}
    with contextlib.ExitStack() as stack:
        systems = {
            count: stack.enter_context(running(bench.server, Setup(env=env, workers=count)))
            for count in _of(bench, WORKERS)
        }
        for system in systems.values():
            _warm(bench, system, "/queue-hold")
        each = [_wrk(system, ("/queue-hold",), CONCURRENT * n, bench.seconds, n) for n, system in systems.items()]
        curves = _curves(bench, {"handlers that wait 50 ms, 8 at once in each worker": each})
    return Part(
        "nodes",
        "Maximum requests per second against service nodes",
        "service nodes (workers)",
        f"A handler that waits {HOLD_S * 1000:.0f} ms, as for a database; {CONCURRENT} at once in each worker, one "
        "gateway process; as many request threads as run at once. Waiting takes no processor, so workers add up until "
        "the gateway's is used up.",
        curves,
        bench.machine,
    )


def routes(bench: BenchRun) -> Part:
    """Measures what more routes cost, all asked in turn."""
    with contextlib.ExitStack() as stack:
        systems = {
            n: stack.enter_context(running(bench.server, Setup(env={"BENCH_ROUTES": str(n)})))
            for n in _of(bench, ROUTES)
        }
        bare = {n: stack.enter_context(app("gateway", {"BENCH_ROUTES": str(n)}, target=BARE)) for n in systems}
        for system in systems.values():
            _warm(bench, system, "/route/0")
        queued = [_wrk(system, _paths("/route/", n), BUSY, bench.seconds, n) for n, system in systems.items()]
        plain = [_wrk(System(bench.server, bare[n]), _paths("/plain/", n), BUSY, bench.seconds, n) for n in bare]
        curves = _curves(bench, {"queued": queued, "bare FastAPI": plain})
    return Part(
        "routes",
        "Routes",
        "routes",
        f"Handlers that answer at once, {BUSY} request threads, all routes asked in turn. Beside it a bare FastAPI "
        "application with as many routes, which looks through them one by one.",
        curves,
        bench.machine,
    )


def waiting(bench: BenchRun) -> Part:
    """Measures what it costs, and does to another route, that thousands wait."""
    env = {"BENCH_HOLD_S": str(WAITING_HOLD_S), CONCURRENCY: str(WAITING_CONCURRENT)}
    with running(bench.server, Setup(env=env)) as system:
        _warm(bench, system, "/queue")
        curves = _curves(
            bench,
            {
                "while others wait": [
                    functools.partial(_while_others_wait, bench, system, count) for count in _of(bench, WAITING)
                ]
            },
        )
    return Part(
        "waiting",
        "Waiting requests",
        "waiting requests",
        f"One route's handler takes {WAITING_HOLD_S:g} s, {WAITING_CONCURRENT} at once, and so many of its requests "
        "wait all the time. Requests/s and processor time are theirs. The latencies are of a quick route on the same "
        "worker meanwhile: routes share it fairly, so it does not stand in their line; it waits until one of the runs "
        "that occupy the worker has ended.",
        curves,
        bench.machine,
    )


def payload(bench: BenchRun) -> Part:
    """Measures what larger bodies cost, there and back."""
    with running(bench.server) as system:
        if not bench.short:
            load(system.gateway.port, ["/queue-echo"], FEW, 1, body_bytes=PAYLOADS[0])
        each = [
            _wrk(system, ("/queue-echo",), FEW, bench.seconds, size, body_bytes=size) for size in _of(bench, PAYLOADS)
        ]
        curves = _curves(bench, {"there and back": each})
    points = [replace(p, more={"MB/s each way": p.x * p.per_s / 1e6}) for p in curves[0].points]
    return Part(
        "payload",
        "Payload",
        "bytes",
        f"A handler that answers with the body that it was sent, {FEW} request threads. A body goes through Redis "
        "once on its way to the worker, and an answer once on its way back.",
        [Curve(curves[0].name, points)],
        bench.machine,
    )


PARTS: Mapping[str, Callable[[BenchRun], Part]] = {
    part.__name__: part for part in (threads, nodes, routes, waiting, payload)
}


def _of(bench: BenchRun, points: Sequence[int]) -> Sequence[int]:
    return points[:SHORT] if bench.short else points


def _warm(bench: BenchRun, system: System, *paths: str) -> None:
    if not bench.short:
        bench.warm(system, *paths)


def _curves(bench: BenchRun, measures: Mapping[str, Sequence[Measure]]) -> list[Curve]:
    """Measures everything in every round, beginning with another point each time."""
    found: dict[tuple[str, int], list[Point]] = {}
    for number in range(bench.rounds):
        turns = [(name, index) for name, each in measures.items() for index in range(len(each))]
        turn = number * len(turns) // bench.rounds
        for name, index in (*turns[turn:], *turns[:turn]):
            point = measures[name][index]()
            found.setdefault((name, index), []).append(point)
            bench.say(f"round {number + 1}: {name}, {point.x:,.0f}: {point.per_s:,.0f}/s, p99 {point.p99_ms:.1f} ms")
    return [Curve(name, [median(found[name, index]) for index in range(len(each))]) for name, each in measures.items()]


def _wrk(
    system: System, paths: Sequence[str], connections: int, seconds: float, x: float, *, body_bytes: int = 0
) -> Measure:
    """Returns how one point is measured: a run of wrk, and what it cost."""

    def measure() -> Point:
        start = system.read()
        ran = load(system.gateway.port, paths, connections, seconds, body_bytes=body_bytes)
        cost = system.cost_since(start, ran.requests)
        return _point(x, ran, {"processor ms": cost.total_us / 1000})

    return measure


def _point(x: float, ran: Load, more: Mapping[str, float]) -> Point:
    if ran.errors:
        raise NotAnswered(f"{ran.errors} of {ran.requests} requests failed at {x:g}: nothing is measured by that")
    return Point(x, ran.per_s, ran.p50_us / 1000, ran.p99_us / 1000, more)


class NotAnswered(Exception):
    """Requests failed that had to be answered."""


def _while_others_wait(bench: BenchRun, system: System, count: int) -> Point:
    """Returns how a quick route does while `count` requests of another one wait, and what each of these costs."""
    with concurrent_clients(system.gateway.port, "/queue-hold", count + WAITING_CONCURRENT, repeat=True) as clients:
        clients.all_sent()
        settle_s = 0.0 if bench.short else SETTLE_S
        time.sleep(settle_s + count * WAITING_HOLD_S / WAITING_CONCURRENT)  # until everybody has waited once
        start, before = system.read(), clients.tally()
        time.sleep(bench.seconds)
        after = clients.tally()
        answered = after.answered - before.answered
        cost_ms = system.cost_since(start, answered).total_us / 1000
        quick = load(system.gateway.port, ["/queue"], 1, bench.seconds)
        end = clients.stop()
    if end.failed or end.unanswered:
        raise NotAnswered(f"{end.failed} of {end.sent} waiting requests failed: {end.example}")
    return Point(
        count,
        answered / bench.seconds,
        quick.p50_us / 1000,
        quick.p99_us / 1000,
        {"processor ms": cost_ms, "wait s": count / (answered / bench.seconds)},
    )


def _paths(start: str, count: int) -> list[str]:
    return [f"{start}{number}" for number in range(count)]

"""The parts of `make capacity`: what grows, and how each point is measured.

Every point is measured several times, in an order that rotates, and its median
counts. Runs the systems of the benchmark; must not know where the figures go.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from loadtest.bench_apps import BARE, System, app, running
from loadtest.bench_crowd import crowd
from loadtest.bench_lab import Lab
from loadtest.bench_wrk import Load, load
from loadtest.capacity_curves import Curve, Part, Point, median

THREADS = (1, 4, 16, 64, 256)
WORKERS = (1, 2, 4, 8)
ROUTES = (1, 10, 100)
WAITING = (10, 1000, 10_000)
PAYLOADS = (100, 1000, 10_000, 100_000, 1_000_000)
BUSY = 64
FEW = 16
"""Connections with a payload: sixteen megabytes under way are enough."""
PLACES, HOLD_S = 8, 0.05
"""A worker with eight places for handlers of 50 ms answers 160 requests a second: it waits, and computes little."""
CROWD_PLACES, CROWD_HOLD_S = 200, 0.1
SETTLE_S = 1.0
SHORT = 1
"""So many points of each curve show that everything works."""

Measure = Callable[[], Point]


def threads(lab: Lab) -> Part:
    """Measure latency against request threads, beside the same handler without a queue."""
    with running(lab.server) as system:
        _warm(lab, system, "/direct", "/queue")
        curves = _curves(
            lab,
            {
                name: [_wrk(system, (f"/{path}",), count, lab.seconds, count) for count in _of(lab, THREADS)]
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
        lab.machine,
    )


def nodes(lab: Lab) -> Part:
    """Measure the most requests per second against service nodes, each a worker process."""
    env = {"BENCH_HOLD_S": str(HOLD_S), "FLOODGATE_WORKER_CONCURRENCY": str(PLACES)}
    with contextlib.ExitStack() as stack:
        systems = {count: stack.enter_context(running(lab.server, env, workers=count)) for count in _of(lab, WORKERS)}
        for system in systems.values():
            _warm(lab, system, "/queue-hold")
        each = [_wrk(system, ("/queue-hold",), PLACES * n, lab.seconds, n) for n, system in systems.items()]
        curves = _curves(lab, {"handlers that wait 50 ms, 8 places each": each})
    return Part(
        "nodes",
        "Maximum requests per second against service nodes",
        "service nodes (workers)",
        f"A handler that waits {HOLD_S * 1000:.0f} ms, as for a database; {PLACES} places in each worker, one gateway "
        "process; as many request threads as places. Behind the wait is no processor, so workers add up until the "
        "gateway's is used up.",
        curves,
        lab.machine,
    )


def routes(lab: Lab) -> Part:
    """Measure what more routes cost, all asked in turn."""
    with contextlib.ExitStack() as stack:
        systems = {n: stack.enter_context(running(lab.server, {"BENCH_ROUTES": str(n)})) for n in _of(lab, ROUTES)}
        bare = {n: stack.enter_context(app("gateway", BARE, {"BENCH_ROUTES": str(n)})) for n in systems}
        for system in systems.values():
            _warm(lab, system, "/route/0")
        queued = [_wrk(system, _paths("/route/", n), BUSY, lab.seconds, n) for n, system in systems.items()]
        plain = [_wrk(System(lab.server, bare[n], ()), _paths("/plain/", n), BUSY, lab.seconds, n) for n in bare]
        curves = _curves(lab, {"queued": queued, "bare FastAPI": plain})
    return Part(
        "routes",
        "Routes",
        "routes",
        f"Handlers that answer at once, {BUSY} request threads, all routes asked in turn. Beside it a bare FastAPI "
        "application with as many routes, which looks through them one by one.",
        curves,
        lab.machine,
    )


def waiting(lab: Lab) -> Part:
    """Measure what it costs, and does to another route, that thousands wait."""
    env = {"BENCH_HOLD_S": str(CROWD_HOLD_S), "FLOODGATE_WORKER_CONCURRENCY": str(CROWD_PLACES)}
    with running(lab.server, env) as system:
        _warm(lab, system, "/queue")
        curves = _curves(
            lab, {"while others wait": [functools.partial(_crowded, lab, system, count) for count in _of(lab, WAITING)]}
        )
    return Part(
        "waiting",
        "Waiting requests",
        "waiting requests",
        f"One route's handler takes {CROWD_HOLD_S:g} s on {CROWD_PLACES} places, and so many of its requests wait all "
        "the time. Requests/s and processor time are theirs. The latencies are of a quick route on the same worker "
        "meanwhile: turns are shared by route, so it does not stand in their line; it waits until one of the places, "
        "which are all taken, comes free.",
        curves,
        lab.machine,
    )


def payload(lab: Lab) -> Part:
    """Measure what larger bodies cost, there and back."""
    with running(lab.server, {"FLOODGATE_HANDLERS": "loadtest.capacity_handlers"}) as system:
        if not lab.short:
            load(system.gateway.port, ["/echo"], FEW, 1, body_bytes=PAYLOADS[0])
        each = [_wrk(system, ("/echo",), FEW, lab.seconds, size, body_bytes=size) for size in _of(lab, PAYLOADS)]
        curves = _curves(lab, {"there and back": each})
    points = [replace(p, more={"MB/s each way": p.x * p.per_s / 1e6}) for p in curves[0].points]
    return Part(
        "payload",
        "Payload",
        "bytes",
        f"A handler that answers with the body that it was sent, {FEW} request threads. A body goes through Redis "
        "once on its way to the worker, and an answer once on its way back.",
        [Curve(curves[0].name, points)],
        lab.machine,
    )


PARTS: Mapping[str, Callable[[Lab], Part]] = {
    part.__name__: part for part in (threads, nodes, routes, waiting, payload)
}


def _of(lab: Lab, points: Sequence[int]) -> Sequence[int]:
    return points[:SHORT] if lab.short else points


def _warm(lab: Lab, system: System, *paths: str) -> None:
    if not lab.short:
        lab.warm(system, *paths)


def _curves(lab: Lab, measures: Mapping[str, Sequence[Measure]]) -> list[Curve]:
    """Measure everything in every round, beginning with another point each time."""
    found: dict[tuple[str, int], list[Point]] = {}
    for number in range(lab.rounds):
        turns = [(name, index) for name, each in measures.items() for index in range(len(each))]
        turn = number * len(turns) // lab.rounds
        for name, index in (*turns[turn:], *turns[:turn]):
            point = measures[name][index]()
            found.setdefault((name, index), []).append(point)
            lab.say(f"round {number + 1}: {name}, {point.x:,.0f}: {point.per_s:,.0f}/s, p99 {point.p99_ms:.1f} ms")
    return [Curve(name, [median(found[name, index]) for index in range(len(each))]) for name, each in measures.items()]


def _wrk(
    system: System, paths: Sequence[str], connections: int, seconds: float, x: float, *, body_bytes: int = 0
) -> Measure:
    """Return how one point is measured: a run of wrk, and what it cost."""

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


def _crowded(lab: Lab, system: System, count: int) -> Point:
    """Return how a quick route does while `count` requests of another one wait, and what each of these costs."""
    with crowd(system.gateway.port, "/queue-hold", count + CROWD_PLACES, repeat=True) as people:
        people.all_sent()
        settle_s = 0.0 if lab.short else SETTLE_S
        time.sleep(settle_s + count * CROWD_HOLD_S / CROWD_PLACES)  # until everybody has waited once
        start, before = system.read(), people.tally()
        time.sleep(lab.seconds)
        after = people.tally()
        answered = after.answered - before.answered
        cost_ms = system.cost_since(start, answered).total_us / 1000
        quick = load(system.gateway.port, ["/queue"], 1, lab.seconds)
        end = people.stop()
    if end.failed or end.unanswered:
        raise NotAnswered(f"{end.failed} of {end.sent} waiting requests failed: {end.example}")
    return Point(
        count,
        answered / lab.seconds,
        quick.p50_us / 1000,
        quick.p99_us / 1000,
        {"processor ms": cost_ms, "wait s": count / (answered / lab.seconds)},
    )


def _paths(start: str, count: int) -> list[str]:
    return [f"{start}{number}" for number in range(count)]

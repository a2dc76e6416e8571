"""The parts of `make bench` beside the curve: counts per request, memory and cost of waiting, routes, workers."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from benchmarks.bench_run import BenchRun, dearer
from benchmarks.concurrent_clients import ClientsFailed, Tally, concurrent_clients
from benchmarks.statistics import Metric
from benchmarks.testbed import ACCESS_LOG, BARE, CONCURRENCY, HOST, App, Cost, Setup, System, app, running

REQUESTS = 1000
LEARN_S = 1.5
"""A fresh gateway takes its first survey meanwhile, and the route gets its mean run time."""
BUSY = 64
ROUTES = 100
FEW_CONCURRENT = 16
SETTLE_S = 1.0
POLL_S = 0.1
CONCURRENT = 200
HOLD_S = 0.1
"""With `CONCURRENT`, the worker serves 2,000 requests a second, however many wait."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Per request; reads and writes are calls of the kernel, calls are those of functions in the serving thread."""

    gateway_io: float
    worker_io: float
    scripts: float
    commands: float
    calls: float


def counts(bench: BenchRun) -> list[Metric]:
    """Counts what a queued request makes gateway, worker and Redis do, and what the same makes plain FastAPI do."""
    with running(bench.server) as system, app("gateway", ACCESS_LOG, target=BARE) as bare:
        queue = _counted(bench, "queue", system.gateway, system.workers[0])
        direct = _counted(bench, "direct", system.gateway, system.workers[0])
        plain = _counted(bench, "direct", bare, system.workers[0])
    return [
        _count("scripts per request", queue.scripts, 3.3),
        _count("commands per request, with those that scripts call", queue.commands, 55),
        _count("reads and writes per request, gateway", queue.gateway_io, 9),
        _count("reads and writes per request, worker", queue.worker_io, 5),
        _count("calls of functions, gateway / bare+log", queue.calls / plain.calls, 1.1),
        _count("calls of functions, plain route beside queued ones / bare+log", direct.calls / plain.calls, 1.0),
        Metric("   calls of functions, bare+log", (plain.calls,)),
    ]


def _count(name: str, measured: float, at_most: float) -> Metric:
    return Metric(f"one at a time: {name}", (measured,), at_most=at_most, is_count=True)


def _counted(bench: BenchRun, path: str, served: App, worker: App) -> Counts:
    with _asking(served.port) as ask:
        _ask_often(ask, path)
        time.sleep(LEARN_S)
        io, worker_io, (scripts, commands) = served.reads_and_writes(), worker.reads_and_writes(), bench.server.calls()
        _ask_often(ask, path)
        io, worker_io = served.reads_and_writes() - io, worker.reads_and_writes() - worker_io
        after_scripts, after_commands = bench.server.calls()
        # The profiler slows everything down, so it comes last.
        calls = int(ask("calls"))
        _ask_often(ask, path)
        calls = int(ask("calls")) - calls
    n = REQUESTS
    counted = Counts(io / n, worker_io / n, (after_scripts - scripts) / n, (after_commands - commands) / n, calls / n)
    bench.note(f"counts {path}", 0, **asdict(counted))
    bench.say(f"{path}, one at a time: {counted}")
    return counted


@contextlib.contextmanager
def _asking(port: int) -> Iterator[Callable[[str], bytes]]:
    """Keeps one connection, and returns what asks for a path over it."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=10)) as connection:

        def ask(path: str) -> bytes:
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ClientsFailed(f"/{path} was answered with {response.status}: {body[:200]!r}")
            return body

        yield ask


def _ask_often(ask: Callable[[str], bytes], path: str) -> None:
    for _ in range(REQUESTS):
        ask(path)


def memory(bench: BenchRun) -> list[Metric]:
    """Measures fresh processes, and a gateway in which thousands wait, against a bare FastAPI application."""
    with running(bench.server) as fresh:
        time.sleep(SETTLE_S)
        gateway_mb, worker_mb = fresh.gateway.rss_kb() / 1024, fresh.workers[0].rss_kb() / 1024
    count, hold_s = (500, 4) if bench.short else (5000, 20)
    env = {"BENCH_HOLD_S": str(hold_s), CONCURRENCY: "10000"}
    with running(bench.server, Setup(env=env)) as system:
        queue_kb = _grown_kb(bench, system.gateway, "queue", count, hold_s)
    with app("gateway", env, target=BARE) as bare:
        direct_kb = _grown_kb(bench, bare, "direct", count, hold_s)
    more_kb = queue_kb - direct_kb
    return [
        Metric("resident memory of a fresh gateway", (gateway_mb,), at_most=110, unit=" MB"),
        Metric("resident memory of a fresh worker", (worker_mb,), at_most=90, unit=" MB"),
        Metric(f"memory of one of {count:,} waiting, queue - bare FastAPI", (more_kb,), at_most=6, unit=" KB"),
        Metric("   queue", (queue_kb,), unit=" KB"),
        Metric("   bare FastAPI", (direct_kb,), unit=" KB"),
    ]


def _grown_kb(bench: BenchRun, served: App, kind: str, count: int, hold_s: float) -> float:
    """Returns by how much the process has grown for each of `count` requests that wait at once."""
    with concurrent_clients(served.port, f"/{kind}", 100, repeat=True) as warm:
        warm.all_sent()
        time.sleep(SETTLE_S)
        _check(bench, warm.stop())
    base_kb = peak_kb = served.rss_kb()
    with concurrent_clients(served.port, f"/{kind}-hold", count, repeat=False) as clients:
        clients.all_sent()
        while not clients.tally().first_answer_s:
            peak_kb = max(peak_kb, served.rss_kb())
            time.sleep(POLL_S)
        end = clients.stop()
    _check(bench, end)
    each_kb = (peak_kb - base_kb) / count
    bench.note(f"memory {kind}", 0, base_kb=base_kb, peak_kb=peak_kb, count=count, each_kb=each_kb)
    bench.say(f"{kind}: {end.answered} of {count} waiting were answered; {each_kb:.1f} KB each")
    if end.last_answer_s - hold_s > end.first_answer_s:
        bench.say("   they did not all wait at once: this machine is too slow for the metric")
    return each_kb


def waiting(bench: BenchRun) -> list[Metric]:
    """Compares what a request costs while many wait with what it costs while few do, at the same rate."""
    few, many = 10, 500 if bench.short else 10_000
    costs: dict[int, list[Cost]] = {few: [], many: []}
    with running(bench.server, Setup(env={"BENCH_HOLD_S": str(HOLD_S), CONCURRENCY: str(CONCURRENT)})) as system:
        _cost(bench, system, few, -1)
        for number in range(bench.rounds):
            for count in (few, many) if number % 2 == 0 else (many, few):
                costs[count].append(_cost(bench, system, count, number))
    return dearer(f"processor time with {many:,} waiting / {few}", costs[many], costs[few], 1.1)


def _cost(bench: BenchRun, system: System, count: int, number: int) -> Cost:
    with concurrent_clients(system.gateway.port, "/queue-hold", count + CONCURRENT, repeat=True) as clients:
        clients.all_sent()
        time.sleep(SETTLE_S + count * HOLD_S / CONCURRENT)  # until everybody has waited once
        bench.server.learn(SETTLE_S)
        start, before = system.read(), clients.tally()
        time.sleep(bench.seconds)
        after = clients.tally()
        answered = after.answered - before.answered
        cost = system.cost_since(start, answered)
        _check(bench, clients.stop())
    per_s = answered / bench.seconds
    bench.note("waiting", number, waiting=count, per_s=per_s, cost=asdict(cost))
    bench.say(f"round {number + 1}: {count} waiting: {per_s:,.0f}/s; {cost}")
    return cost


def _check(bench: BenchRun, tally: Tally) -> None:
    if tally.failed:
        bench.say(f"   {tally.failed} of {tally.sent} FAILED, the first: {tally.example}")
    bench.errors += tally.failed
    bench.unanswered += tally.unanswered


def routes(bench: BenchRun) -> list[Metric]:
    """Compares what a request costs with 100 routes, asked in turn, with what it costs with one."""
    few, many = {"BENCH_ROUTES": "1"}, {"BENCH_ROUTES": str(ROUTES)}
    with contextlib.ExitStack() as stack:
        one, hundred = (stack.enter_context(running(bench.server, Setup(env=env))) for env in (few, many))
        bare = [System(bench.server, stack.enter_context(app("gateway", env, target=BARE))) for env in (few, many)]
        loads = [
            ("1 route", one, ["/route/0"]),
            ("100 routes", hundred, [f"/route/{number}" for number in range(ROUTES)]),
            ("first of 100", hundred, ["/route/0"]),
            ("1 bare route", bare[0], ["/plain/0"]),
            ("100 bare routes", bare[1], [f"/plain/{number}" for number in range(ROUTES)]),
        ]
        costs = _in_turn(bench, loads)
    plain = zip(costs["100 bare routes"], costs["1 bare route"], strict=True)
    return [
        *dearer(f"processor time with {ROUTES} routes asked in turn / 1", costs["100 routes"], costs["1 route"], 1.1),
        Metric("   bare FastAPI", tuple(m.gateway_us / o.gateway_us for m, o in plain)),
        *dearer(f"processor time with {ROUTES} routes, the first asked / 1", costs["first of 100"], costs["1 route"]),
    ]


def _in_turn(bench: BenchRun, loads: Sequence[tuple[str, System, list[str]]]) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {what: [] for what, _, _ in loads}
    for _, system, paths in loads:
        bench.warm(system, paths[0])
    for number in range(bench.rounds):
        turn = number % len(loads)
        for what, system, paths in (*loads[turn:], *loads[:turn]):
            costs[what].append(bench.sample(what, number, system, paths, BUSY).cost)
    return costs


def workers(bench: BenchRun) -> list[Metric]:
    """Compares the throughput of two workers with that of one, where the handler's time is what limits it."""
    env = {"BENCH_HOLD_S": "0.05", CONCURRENCY: str(FEW_CONCURRENT)}
    ratios: list[float] = []
    with running(bench.server, Setup(env=env)) as one, running(bench.server, Setup(env=env, workers=2)) as two:
        bench.warm(one, "/queue-hold")  # a route without a mean run time lets in few, as it has to
        bench.warm(two, "/queue-hold")
        for number in range(bench.rounds):
            per_s = {}
            for what, system in (("1 worker", one), ("2 workers", two))[:: 1 if number % 2 == 0 else -1]:
                per_s[what] = bench.sample(what, number, system, ["/queue-hold"], BUSY).load.per_s
            ratios.append(per_s["2 workers"] / per_s["1 worker"])
    return [Metric("requests/s of two workers / one, handlers of 50 ms", tuple(ratios), at_least=1.9)]

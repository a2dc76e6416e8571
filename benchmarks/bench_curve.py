"""The queued route against plain FastAPI with its access log, from 1 to 256 connections; and other kinds of routes.

Four are asked in turn: `queue`; `bare+log` and `bare`, a plain FastAPI application
of its own process with and without uvicorn's access log; `direct`, a plain route
of the gateway. All have the same function behind them, under the same server.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from benchmarks import echo
from benchmarks.bench_run import BenchRun, Sample
from benchmarks.statistics import Metric
from benchmarks.testbed import ACCESS_LOG, BARE, System, app, running
from floodgate.peak.statistics import grid

Value = Callable[[Sample], float]
CONNECTIONS = (1, 16, 64, 256)
CONNECTIONS_SHORT = (1, 64)
BUSY = 64
"""Connections at which plain routes and other kinds of routes are judged."""
KINDS = ("queue", "bare+log", "bare", "direct")
SHAPES = {
    "query": ("two query parameters", "-query?n=7&name=tea", ""),
    "model": ("POST with a model", "-model", '{"n": 7, "name": "tea"}'),
}
"""What kinds of routes are, how their paths end, and what is sent to them."""

GATEWAY_US, WORKER_US, REDIS_US = map(attrgetter, ("cost.gateway_us", "cost.worker_us", "cost.redis_us"))
PER_S, P50_US, P99_US = map(attrgetter, ("load.per_s", "load.p50_us", "load.p99_us"))
OTHERS = {64: 0.33, 256: 0.33}
GOALS: Sequence[tuple[str, Value, Value, bool, Mapping[int, float]]] = (
    ("gateway µs", GATEWAY_US, GATEWAY_US, False, {1: 1.5, 16: 0.90, 64: 0.70, 256: 0.70}),
    ("requests/s", PER_S, PER_S, True, {16: 0.85, 64: 1.0, 256: 1.0}),
    ("p99", P99_US, P99_US, False, {64: 1.5, 256: 1.5}),
    ("worker µs", WORKER_US, GATEWAY_US, False, OTHERS),
    ("Redis µs", REDIS_US, GATEWAY_US, False, OTHERS),
)
"""A value of the queue, what of `bare+log` it is compared with, whether the goal is the least,
and the goal at so many connections."""
P50_ECHOES_AT_MOST = 2.0
PLAIN_AT_MOST = 1.15
SHAPES_AT_MOST = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of request at one number of connections; `name` says both."""

    kind: str
    what: str
    system: System
    path: str
    connections: int
    json_body: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the echo, and every probe by its kind and by what it asks: connections, or a kind of route."""

    echo_us: float
    samples: dict[tuple[str, str], Sample]

    def ratio(self, kind: str, what: str, value: Value, to: Value) -> float:
        """Returns `value` of one kind as a share of `to` of `bare+log`."""
        return value(self.samples[kind, what]) / to(self.samples["bare+log", what])


def measure(bench: BenchRun) -> list[Metric]:
    """Runs all rounds and returns what is judged of them."""
    with contextlib.ExitStack() as stack:
        queue = stack.enter_context(running(bench.server))
        logged, bare = (
            System(bench.server, stack.enter_context(app("gateway", env, target=BARE))) for env in (ACCESS_LOG, {})
        )
        probes = _probes(dict(zip(KINDS, (queue, logged, bare, queue), strict=True)), bench.short)
        for probe in probes:
            if probe.connections == BUSY:
                bench.warm(probe.system, probe.path, json_body=probe.json_body)
        bench.learn(queue, "/queue")
        rounds = [_round(bench, probes, number) for number in range(bench.rounds)]
    bench.notes.append(_by_connections(rounds))
    return [*_curve(rounds), *_plain(rounds), *_commands(rounds)]


def _probes(systems: dict[str, System], short: bool) -> list[Probe]:
    """Returns what is asked in one round: what is compared stands side by side."""
    paths = {kind: "/queue" if kind == "queue" else "/direct" for kind in KINDS}
    probes = [
        Probe(kind, str(count), systems[kind], paths[kind], count)
        for count in (CONNECTIONS_SHORT if short else CONNECTIONS)
        for kind in KINDS
    ]
    return probes + [
        Probe(kind, shape, systems[kind], paths[kind] + ends, BUSY, body)
        for shape, (_, ends, body) in SHAPES.items()
        for kind in ("queue", "bare+log")
    ]


def _round(bench: BenchRun, probes: Sequence[Probe], number: int) -> Round:
    taken = Round(_echo_us(bench, number), {})
    for probe in probes if number % 2 == 0 else reversed(probes):
        what = probe.kind if probe.what.isdigit() else f"{probe.kind} {probe.what}"
        taken.samples[probe.kind, probe.what] = bench.sample(
            what, number, probe.system, [probe.path], probe.connections, probe.json_body
        )
    return taken


def _echo_us(bench: BenchRun, number: int) -> float:
    echo_us = echo.p50_us(bench.server.url, min(bench.seconds, 2.0))
    bench.note("echo", number, p50_us=echo_us)
    bench.say(f"round {number + 1}: echo: p50 {echo_us / 1000:.3f} ms")
    return echo_us


def _curve(rounds: Sequence[Round]) -> list[Metric]:
    metrics = []
    for name, value, to, is_least, limits in GOALS:
        beside = "" if value is to else "gateway µs of "
        for count, limit in limits.items():
            what = str(count)
            measured = [r for r in rounds if ("queue", what) in r.samples]
            if measured:  # a short run does not ask at all numbers of connections
                ratios = tuple(r.ratio("queue", what, value, to) for r in measured)
                most, least = (None, limit) if is_least else (limit, None)
                title = f"{name} at {count} / {beside}bare+log"
                metrics.append(Metric(title, ratios, at_most=most, at_least=least))
    p50 = tuple(r.samples["queue", "1"].load.p50_us / r.echo_us for r in rounds)
    return [*metrics, Metric("p50 at 1 / Redis echo", p50, at_most=P50_ECHOES_AT_MOST)]


def _plain(rounds: Sequence[Round]) -> list[Metric]:
    """Returns what plain routes pay for standing beside queued ones, and queued ones of other kinds."""

    def gateway(kind: str, what: str) -> tuple[float, ...]:
        return tuple(r.ratio(kind, what, GATEWAY_US, GATEWAY_US) for r in rounds)

    return [
        Metric(f"gateway µs at {BUSY}, plain route / bare+log", gateway("direct", str(BUSY)), at_most=PLAIN_AT_MOST),
        Metric(f"   bare / bare+log at {BUSY}", gateway("bare", str(BUSY))),
        *(
            Metric(f"gateway µs at {BUSY}, {title} / bare+log", gateway("queue", shape), at_most=SHAPES_AT_MOST)
            for shape, (title, _, _) in SHAPES.items()
        ),
    ]


def _commands(rounds: Sequence[Round]) -> list[Metric]:
    commands = tuple(r.samples["queue", str(BUSY)].cost.commands for r in rounds)
    return [Metric(f"commands to Redis per request at {BUSY}", commands, at_most=1, is_count=True)]


def _by_connections(rounds: Sequence[Round]) -> str:
    echo_ms = statistics.median(r.echo_us for r in rounds) / 1000
    rows: list[tuple[str, ...]] = [
        ("connections", "", "requests/s", "p50 ms", "p99 ms", "gateway µs", "worker µs", "Redis µs")
    ]
    before = ""
    for kind, what in sorted(rounds[0].samples, key=lambda key: (not key[1].isdigit(), key[1].zfill(9))):
        rows.append(_row("" if what == before else what, kind, [r.samples[kind, what] for r in rounds]))
        before = what
    return (
        f"Medians of {len(rounds)} rounds; processor time per request; echo p50 {echo_ms:.3f} ms; kinds of routes at "
        f"{BUSY} connections.\n\n{grid(rows)}"
    )


def _row(what: str, kind: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    per_s, p50_us, p99_us, *costs_us = (
        statistics.median(map(value, samples)) for value in (PER_S, P50_US, P99_US, GATEWAY_US, WORKER_US, REDIS_US)
    )
    costs = [f"{cost_us:.0f}" for cost_us in costs_us] if kind == "queue" else [f"{costs_us[0]:.0f}", "", ""]
    return what, kind, f"{per_s:,.0f}", f"{p50_us / 1000:.2f}", f"{p99_us / 1000:.1f}", *costs

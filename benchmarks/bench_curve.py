"""The queued route against plain FastAPI with its access log, from 1 to 256 connections; and other kinds of routes.

Four are asked in turn: `queue`; `bare+log` and `bare`, a plain FastAPI application
of its own process with and without uvicorn's access log; `direct`, a plain route
of the gateway. All have the same function behind them, under the same server.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import echo
from benchmarks.bench_run import BenchRun, Sample
from benchmarks.statistics import Metric
from benchmarks.testbed import ACCESS_LOG, BARE, System, app, running
from floodgate.peak.statistics import grid

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

GATEWAY_AT_MOST = {1: 1.5, 16: 0.90, 64: 0.70, 256: 0.70}
PER_S_AT_LEAST = {16: 0.85, 64: 1.0, 256: 1.0}
P99_AT_MOST = {64: 1.5, 256: 1.5}
OTHERS_AT_MOST = {64: 0.33, 256: 0.33}
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

    def ratio(self, kind: str, what: str, value: Callable[[Sample], float], to: Callable[[Sample], float]) -> float:
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
    metrics = [
        _metric(rounds, "gateway µs", count, _gateway_us, _gateway_us, at_most=most)
        for count, most in GATEWAY_AT_MOST.items()
    ]
    metrics += [
        _metric(rounds, "requests/s", count, _per_s, _per_s, at_least=least) for count, least in PER_S_AT_LEAST.items()
    ]
    metrics += [_metric(rounds, "p99", count, _p99_us, _p99_us, at_most=most) for count, most in P99_AT_MOST.items()]
    for name, value in (("worker µs", _worker_us), ("Redis µs", _redis_us)):
        metrics += [
            _metric(rounds, name, count, value, _gateway_us, at_most=most) for count, most in OTHERS_AT_MOST.items()
        ]
    p50 = tuple(r.samples["queue", "1"].load.p50_us / r.echo_us for r in rounds)
    return [
        *(metric for metric in metrics if metric.values),
        Metric("p50 at 1 / Redis echo", p50, at_most=P50_ECHOES_AT_MOST),
    ]


def _metric(
    rounds: Sequence[Round],
    name: str,
    count: int,
    value: Callable[[Sample], float],
    to: Callable[[Sample], float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Metric:
    """Returns a ratio of the queue; without rounds where a short run does not ask at so many connections."""
    measured = [r for r in rounds if ("queue", str(count)) in r.samples]
    ratios = tuple(r.ratio("queue", str(count), value, to) for r in measured)
    beside = "" if value is to else "gateway µs of "
    return Metric(f"{name} at {count} / {beside}bare+log", ratios, at_most=at_most, at_least=at_least)


def _plain(rounds: Sequence[Round]) -> list[Metric]:
    """Returns what plain routes pay for standing beside queued ones, and queued ones of other kinds."""

    def gateway(kind: str, what: str) -> tuple[float, ...]:
        return tuple(r.ratio(kind, what, _gateway_us, _gateway_us) for r in rounds)

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
    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(value(sample) for sample in samples)

    queued = kind == "queue"
    return (
        what,
        kind,
        f"{median(_per_s):,.0f}",
        f"{median(lambda s: s.load.p50_us) / 1000:.2f}",
        f"{median(_p99_us) / 1000:.1f}",
        f"{median(_gateway_us):.0f}",
        f"{median(_worker_us):.0f}" if queued else "",
        f"{median(_redis_us):.0f}" if queued else "",
    )


def _gateway_us(sample: Sample) -> float:
    return sample.cost.gateway_us


def _worker_us(sample: Sample) -> float:
    return sample.cost.worker_us


def _redis_us(sample: Sample) -> float:
    return sample.cost.redis_us


def _per_s(sample: Sample) -> float:
    return sample.load.per_s


def _p99_us(sample: Sample) -> float:
    return float(sample.load.p99_us)

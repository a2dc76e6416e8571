"""The queued route against the same handler without a queue, from 1 to 256 connections."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest import bench_echo
from loadtest.bench_apps import System, running
from loadtest.bench_figures import Figure, grid
from loadtest.bench_lab import Lab, Sample

CONNECTIONS = (1, 16, 64, 256)
CONNECTIONS_SHORT = (1, 64)
BUSY = 64
"""Connections at which costs are judged."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the echo, and queued and direct at every number of connections."""

    echo_us: float
    queue: dict[int, Sample]
    direct: dict[int, Sample]

    def busy(self, ratio: Callable[[Sample, Sample], float]) -> float:
        return ratio(self.queue[BUSY], self.direct[BUSY])


def measure(lab: Lab) -> list[Figure]:
    """Run all rounds and return what is judged of them."""
    ends = "-typed?n=7" if lab.typed else ""
    with running(lab.server) as system:
        lab.warm(system, f"/direct{ends}", f"/queue{ends}")
        lab.learn(system, f"/queue{ends}")
        rounds = [_round(lab, system, ends, number) for number in range(lab.rounds)]
    lab.notes.append(_by_connections(rounds))
    return [*_speed(rounds), *_costs(rounds)]


def _round(lab: Lab, system: System, ends: str, number: int) -> Round:
    connections = CONNECTIONS_SHORT if lab.short else CONNECTIONS
    turn = number % len(connections)
    taken = Round(_echo_us(lab, number), {}, {})
    for count in (*connections[turn:], *connections[:turn]):
        kinds = (("queue", taken.queue), ("direct", taken.direct))
        for kind, samples in kinds if number % 2 == 0 else reversed(kinds):
            samples[count] = lab.sample(kind, number, system, [f"/{kind}{ends}"], count)
    return taken


def _echo_us(lab: Lab, number: int) -> float:
    echo_us = bench_echo.p50_us(lab.server.url, min(lab.seconds, 2.0))
    lab.note("echo", number, p50_us=echo_us)
    lab.say(f"round {number + 1}: echo: p50 {echo_us / 1000:.3f} ms")
    return echo_us


def _speed(rounds: Sequence[Round]) -> list[Figure]:
    added = [(r.queue[1].load.p50_us - r.direct[1].load.p50_us) / r.echo_us for r in rounds]
    per_s = [r.busy(lambda queue, direct: queue.load.per_s / direct.load.per_s) for r in rounds]
    p99 = [r.busy(lambda queue, direct: queue.load.p99_us / direct.load.p99_us) for r in rounds]
    return [
        Figure("p50 at 1 connection: (queue - direct) / echo", tuple(added), at_most=1.6),
        Figure("requests/s at 64, queue / direct", tuple(per_s), at_least=0.70),
        Figure("p99 at 64, queue / direct", tuple(p99), at_most=2),
    ]


def _costs(rounds: Sequence[Round]) -> list[Figure]:
    gateway = [r.busy(lambda queue, direct: queue.cost.gateway_us / direct.cost.gateway_us) for r in rounds]
    worker = [r.busy(lambda queue, direct: queue.cost.worker_us / direct.cost.gateway_us) for r in rounds]
    redis = [r.busy(lambda queue, direct: queue.cost.redis_us / direct.cost.gateway_us) for r in rounds]
    commands = [r.queue[BUSY].cost.commands for r in rounds]
    return [
        Figure("processor time at 64, gateway / gateway direct", tuple(gateway), at_most=1.25),
        Figure("processor time at 64, worker / gateway direct", tuple(worker), at_most=0.3),
        Figure("processor time at 64, Redis / gateway direct", tuple(redis), at_most=0.25),
        Figure("commands to Redis per request at 64", tuple(commands), at_most=1, is_count=True),
    ]


def _by_connections(rounds: Sequence[Round]) -> str:
    echo_ms = statistics.median(r.echo_us for r in rounds) / 1000
    rows: list[tuple[str, ...]] = [
        ("connections", "", "requests/s", "queue / direct", "p50 ms", "p99 ms", "gateway µs", "worker µs", "Redis µs")
    ]
    for count in rounds[0].queue:
        share = statistics.median(r.queue[count].load.per_s / r.direct[count].load.per_s for r in rounds)
        rows.append(_row(str(count), "queue", f"{share:.2f}", [r.queue[count] for r in rounds]))
        rows.append(_row("", "direct", "", [r.direct[count] for r in rounds]))
    return f"Medians of {len(rounds)} rounds; processor time per request; echo p50 {echo_ms:.3f} ms.\n\n{grid(rows)}"


def _row(count: str, kind: str, share: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(value(sample) for sample in samples)

    return (
        count,
        kind,
        f"{median(lambda s: s.load.per_s):,.0f}",
        share,
        f"{median(lambda s: s.load.p50_us) / 1000:.2f}",
        f"{median(lambda s: s.load.p99_us) / 1000:.1f}",
        f"{median(lambda s: s.cost.gateway_us):.0f}",
        f"{median(lambda s: s.cost.worker_us):.0f}",
        f"{median(lambda s: s.cost.redis_us):.0f}",
    )

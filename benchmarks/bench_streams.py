"""The part of `make bench` for streams: the first item, what an item costs, how late items are, calls of Redis."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.bench_run import BenchRun
from benchmarks.concurrent_clients import ClientsFailed
from benchmarks.statistics import Metric
from benchmarks.testbed import ACCESS_LOG, BARE, CONCURRENCY, HOST, App, Cost, Setup, System, app, running

FIRSTS = 200
STREAMS = 100
EVERY_S = 0.01
"""Between two items of a stream, where the cost of an item is measured."""
MANY, MANY_EVERY_S = 1000, 0.05
TRICKLE, FLOOD = 20, 200
"""Items per second of each stream, between which the calls of Redis may not differ."""
LEARN_S = 1.5
LATEST_S = 30.0


@dataclass(slots=True)
class Received:
    """What the clients of some streams have seen; an item says when it was yielded."""

    items: int = 0
    whole: int = 0
    delays_s: list[float] = field(default_factory=list)


def measure(bench: BenchRun) -> list[Metric]:
    """Measures streams through the queue, beside FastAPI's own and beside plain queued answers."""
    env = {CONCURRENCY: "5000"}
    many = STREAMS if bench.short else MANY
    firsts: list[float] = []
    queued: list[Cost] = []
    direct: list[Cost] = []
    late: list[float] = []
    calls: list[float] = []
    with running(bench.server, Setup(env=env)) as system, app("gateway", ACCESS_LOG, target=BARE) as bare:
        plain = System(bench.server, bare)
        for served, path in ((system, "queue"), (plain, "direct")):
            asyncio.run(_streams(served.gateway, f"/{path}-events", STREAMS, LEARN_S, EVERY_S))
        for number in range(bench.rounds):
            firsts.append(asyncio.run(_first(system.gateway)))
            for costs, served, path in ((queued, system, "queue"), (direct, plain, "direct"))[:: 1 - 2 * (number % 2)]:
                costs.append(_cost(bench, number, served, path))
            received = asyncio.run(_streams(system.gateway, "/queue-events", many, bench.seconds, MANY_EVERY_S))
            late.append(statistics.quantiles(received.delays_s, n=100)[98] * 1000)
            calls.append(_calls_per_s(bench, system, FLOOD) / _calls_per_s(bench, system, TRICKLE))
    per_item = tuple(d.gateway_us / q.gateway_us for d, q in zip(direct, queued, strict=True))
    return [
        Metric("first item of a stream / p50 of a plain queued answer", tuple(firsts), at_most=1.3),
        Metric(f"{STREAMS} streams: items per processor time of the gateway / FastAPI's own", per_item, at_least=0.7),
        Metric(f"{many:,} streams of 20 items/s: p99 of the delay", tuple(late), at_most=250, unit=" ms"),
        Metric(f"scripts per second at {FLOOD} items/s / at {TRICKLE}", tuple(calls), at_most=1.5),
    ]


async def _first(gateway: App) -> float:
    """Return the ratio of two medians, of requests on one connection, in turn."""
    times: dict[str, list[float]] = {"/queue-events?n=2&every_s=0.02": [], "/queue": []}
    for _ in range(FIRSTS):
        for path, found in times.items():
            found.append(await _until_body(gateway.port, path))
    events, plain = (statistics.median(found) for found in times.values())
    return events / plain


async def _until_body(port: int, path: str) -> float:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        began_s = time.perf_counter()
        writer.write(_request(path))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readline()
        return time.perf_counter() - began_s
    finally:
        writer.close()


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()


async def _streams(gateway: App, path: str, count: int, seconds: float, every_s: float) -> Received:
    """Read streams side by side to their ends; raises `ClientsFailed` for one that breaks off or is refused."""
    received = Received()
    url = f"{path}?n={max(1, round(seconds / every_s))}&every_s={every_s}"
    async with asyncio.timeout(seconds + LATEST_S):
        await asyncio.gather(*(_read(gateway.port, url, received) for _ in range(count)))
    if received.whole < count:
        raise ClientsFailed(f"{count - received.whole} of {count} streams of {path} were refused or broke off")
    return received


async def _read(port: int, url: str, received: Received) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(_request(url))
    try:
        if b" 200 " not in await reader.readline():
            return
        while line := await reader.readline():
            if line.startswith(b"data: "):
                received.items += 1
                received.delays_s.append(time.time() - float(line[6:]))
            elif line == b"0\r\n":
                received.whole += 1
    finally:
        writer.close()


def _cost(bench: BenchRun, number: int, system: System, path: str) -> Cost:
    start = system.read()
    received = asyncio.run(_streams(system.gateway, f"/{path}-events", STREAMS, bench.seconds, EVERY_S))
    cost = system.cost_since(start, received.items)
    bench.note(f"streams {path}", number, items=received.items, gateway_us=cost.gateway_us)
    bench.say(f"round {number + 1}: {received.items:,} items of {path}: {cost}")
    return cost


def _calls_per_s(bench: BenchRun, system: System, items_per_s: int) -> float:
    before, began_s = bench.server.calls()[0], time.monotonic()
    asyncio.run(_streams(system.gateway, "/queue-events", STREAMS // 2, bench.seconds, 1 / items_per_s))
    return (bench.server.calls()[0] - before) / (time.monotonic() - began_s)

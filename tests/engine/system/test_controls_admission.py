"""What admission would be without each of its rules: the figure that is lost, in exact counts or clear ratios.

`with` and `without` run side by side under the same load.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from benchmarks.arrivals import Request, Stream
from benchmarks.database import BEST
from benchmarks.database import VARIABLE as DATABASE
from benchmarks.testbed import CONCURRENCY
from floodgate.run.embedded_server import EmbeddedServer
from floodgate.run.processes import with_parent_death_signal
from tests.engine.system.controls import (
    CAPACITY_PER_S,
    CONCURRENT,
    Lacking,
    Side,
    answered,
    broken,
    latency_s,
    pair,
    refusals,
    started,
)
from tests.engine.system.system import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


async def test_without_the_predicted_wait_the_admitted_are_late(without: Lacking) -> None:
    async with without("prediction") as both:
        await both.warm("/gate")
        kept, lost = await both.load(Stream("load", "/gate", 3 * CAPACITY_PER_S, 0, 2.5))
    print(f"late of the admitted: {broken(kept)}, without {broken(lost)}")
    assert broken(kept) == 0 < refusals(kept)
    assert broken(lost) > 50


async def test_without_the_capacity_of_the_pool_a_burst_waits_in_vain_behind_long_runs(without: Lacking) -> None:
    """Sixteen runs of three seconds occupy the worker, and nothing waits; then a hundred come that would take 20 ms."""

    async def late(side: Side) -> tuple[int, int]:
        await side.warm("/brief")
        assert answered(await side.send([Request(0, 0.0, "/blocking?seconds=3")])) == 1
        long = [Request(0, 0.0, "/blocking?seconds=3") for _ in range(CONCURRENT)]
        burst = [Request(0, 0.6, "/brief") for _ in range(100)]
        await side.send([*long, *burst])
        assert answered(long) == CONCURRENT
        return broken(burst), refusals(burst)

    async with without("pool-places") as both:
        kept, lost = await asyncio.gather(*(late(side) for side in (both.whole, both.lacking)))
    print(f"late of the admitted: {kept[0]}, without {lost[0]}; refused {kept[1]}, without {lost[1]}")
    assert kept == (0, 100)
    assert lost[0] > 30


async def test_without_the_fall_of_the_bound_a_lasting_overload_makes_everybody_wait(without: Lacking) -> None:
    async with without("falling-bound") as both:
        await both.warm("/lasting")
        kept, lost = await both.load(Stream("load", "/lasting", 150.0, 0, 5.0))
    least = [_least_s(load) for load in (kept, lost)]
    print(f"least p50 of half a second: {least[0]:.3f} s, without {least[1]:.3f} s")
    assert least[1] > 2 * least[0]


async def test_without_the_refusal_cache_every_refusal_asks_redis(without: Lacking, server: EmbeddedServer) -> None:
    async def calls_per_refusal(side: Side, redis: Any) -> float:
        held = [Request(0, 0.0, "/full", leave_after_s=4.0) for _ in range(4)]
        holding = asyncio.create_task(side.send(held))
        await asyncio.sleep(0.5)
        before = _scripts(redis)
        await asyncio.sleep(0.5)
        idle, before = _scripts(redis) - before, _scripts(redis)
        load = await side.load(Stream("load", "/full", 200.0, 0, 1.0))
        calls = _scripts(redis) - before - 2 * idle
        await holding
        assert refusals(load) == len(load) > 100
        return calls / len(load)

    async with without("refusal-cache") as both:
        with contextlib.closing(Redis.from_url(server.url)) as redis:
            kept = await calls_per_refusal(both.whole, redis)
            lost = await calls_per_refusal(both.lacking, redis)
    print(f"script calls per refusal: {kept:.3f}, without {lost:.3f}")
    assert kept < 0.2
    assert lost > 0.5


async def test_without_the_bucket_everybody_gets_in(without: Lacking) -> None:
    async with without("bucket") as both:
        got = [await asyncio.to_thread(_post, side, 12) for side in (both.whole, both.lacking)]
    print(f"answered of 12: {got[0]}, without {got[1]}")
    assert got[0] <= 3
    assert got[1] == 12


async def test_with_a_bucket_behind_the_body_a_refusal_waits_for_the_body(without: Lacking) -> None:
    async with without("bucket-before-the-body") as both:
        got = []
        for side in (both.whole, both.lacking):
            await asyncio.to_thread(_post, side, 4)
            heads = [asyncio.to_thread(_refused_without_body, side) for _ in range(5)]
            got.append(sum(await asyncio.gather(*heads)))
    print(f"refused without a body, of 5: {got[0]}, without {got[1]}")
    assert got == [5, 0]


async def test_when_all_are_told_one_second_they_come_back_together(without: Lacking) -> None:
    async with without("retry-after") as both:
        await both.warm("/retried")
        first = await both.load(Stream("peak", "/retried", 1000.0, 0, 0.33))
        again = await asyncio.gather(
            *(_again(side, load) for side, load in zip((both.whole, both.lacking), first, strict=True))
        )
    left = [len(load) - answered(load) - answered(second) for load, second in zip(first, again, strict=True)]
    print(f"not answered in the end, of {len(first[0])}: {left[0]}, without {left[1]}")
    assert left[1] > 2 * left[0]
    assert left[1] > 20


async def test_without_the_running_limit_the_database_collapses(server: EmbeddedServer, tmp_path: Path) -> None:
    """A worker with a concurrency of 64: so many at once make each of them take longer than its time-out."""
    with contextlib.ExitStack() as stack:
        sides = []
        for name, lack in (("whole", ""), ("lacking", "running-limit")):
            socket_path = f"{tmp_path}/{name}.db"
            stack.enter_context(_database(socket_path))
            env = {CONCURRENCY: "64", DATABASE: socket_path}
            sides.append(stack.enter_context(started(tmp_path / name, server.url, lack, **env)))
        async with pair(*sides) as both:
            await both.warm("/database")
            kept, lost = await both.load(Stream("load", "/database", 3 * CAPACITY_PER_S, 0, 2.0))
            most = [_most_at_once(side, load) for side, load in ((both.whole, kept), (both.lacking, lost))]
    print(f"answered: {answered(kept)}, without {answered(lost)}; at once {most}")
    assert most[0] <= BEST < most[1]
    assert answered(kept) > 2 * answered(lost)


def _least_s(load: list[Request], from_s: float = 2.0, steps: int = 6) -> float:
    """Return how short the wait got: a pause of the machine may empty the queue, and then it begins anew."""
    edges = [(from_s + step / 2, from_s + (step + 1) / 2) for step in range(steps)]
    return min(latency_s([request for request in load if begin <= request.at_s < end], 0.5) for begin, end in edges)


def _scripts(redis: Any) -> int:
    return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])


def _post(side: Side, requests: int) -> int:
    body = b'{"words":[]}'
    return sum(_answer(side, len(body), body).startswith(b"HTTP/1.1 200") for _ in range(requests))


def _refused_without_body(side: Side) -> bool:
    return _answer(side, 100, b"", 1.0).startswith(b"HTTP/1.1 429")


def _answer(side: Side, length: int, body: bytes, limit_s: float = 5.0) -> bytes:
    """Post to `/rated`: a head that announces a body, and what there is of it; nothing when no answer came."""
    host, port = side.system.apps[0].url.removeprefix("http://").split(":")
    head = f"POST /rated HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=limit_s) as connection:
        connection.sendall(head.encode() + body)
        with contextlib.suppress(TimeoutError):
            return connection.recv(65536)
    return b""


async def _again(side: Side, load: list[Request]) -> list[Request]:
    """Ask once more for each that was refused, when it was told to."""
    told = [request for request in load if request.status == 503]
    start_s = min(request.done_s for request in told)
    planned = [Request(0, request.done_s - start_s + request.retry_after_s, request.path) for request in told]
    return await side.send(sorted(planned, key=lambda request: request.at_s))


def _most_at_once(side: Side, load: list[Request]) -> int:
    edges = sorted((at_s, step) for _, run in side.runs(load) for at_s, step in ((run.started_s, 1), (run.ended_s, -1)))
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


@contextlib.contextmanager
def _database(path: str) -> Iterator[None]:
    process = subprocess.Popen(
        with_parent_death_signal([sys.executable, "-m", "benchmarks.database", path], signal.SIGKILL), cwd=ROOT
    )
    try:
        limit_s = time.monotonic() + 5
        while not Path(path).exists() and time.monotonic() < limit_s:
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()

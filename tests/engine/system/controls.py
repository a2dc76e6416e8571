"""Two systems side by side, one of them without a control, under the same load at the same moment.

Owns their start, the generators, and the words for what came back. What the
machine does meanwhile, it does to both. Must not know what is expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from benchmarks import notes
from benchmarks.ablation import VARIABLE
from benchmarks.arrivals import Request, Stream, arrivals
from benchmarks.notes import Run
from benchmarks.openloop import Generator, generator
from benchmarks.statistics import admitted, refused
from benchmarks.testbed import CONCURRENCY, DRAIN_S, LEASE_S
from floodgate.broker.keys import Keys
from floodgate.peak.statistics import percentile
from tests.engine.leaks import leaks
from tests.engine.system.system import System, await_ready, system

HANDLERS = "benchmarks.handlers.controls"
CONCURRENT = 16
PATIENCE_S = 12.0
SEED = 1
WARM_S = 0.05
"""Between two requests: without a sample, admission is careful."""
_FIRST = itertools.count(1, 100_000)
"""So that no two loads number a request alike: handlers note these numbers."""
CAPACITY_PER_S = 80.0
"""16 at once, 0.2 s each."""


@contextlib.contextmanager
def started(directory: Path, url: str, without: str = "", **env: str) -> Iterator[System]:
    """One gateway and one worker, without what is named; afterwards no key is left behind."""
    directory.mkdir(exist_ok=True)
    name = f"control{uuid.uuid4().hex[:10]}"
    given = {VARIABLE: without, notes.VARIABLE: str(directory / "runs"), CONCURRENCY: str(CONCURRENT)}
    given |= {LEASE_S: "5", DRAIN_S: "9"}
    with system(directory, url, name, HANDLERS, **(given | env)) as running:
        gateway = running.gateway(wait=False, factory="benchmarks.ablation:gateway")
        await_ready(running.worker(factory="benchmarks.ablation:worker"))
        await_ready(gateway)
        yield running
    with contextlib.closing(Redis.from_url(url)) as client:
        assert leaks(client, Keys(name)) == []


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two systems with its generator."""

    system: System
    generator: Generator

    async def load(self, *streams: Stream) -> list[Request]:
        """Puts a load on it and return its requests, once all have ended."""
        return await self.send(arrivals(streams, SEED))

    async def send(self, requests: list[Request]) -> list[Request]:
        """The same for requests that are planned already; they get numbers of their own."""
        for number, request in enumerate(requests, next(_FIRST)):
            request.number = number
        await self.generator.run(requests, asyncio.get_running_loop().time() + 0.1)
        return requests

    async def warm(self, *paths: str, headers: str = "", requests: int = 8) -> None:
        """Lets it know how long the work takes."""
        planned = [Request(0, number * WARM_S, path, headers=headers) for number in range(requests) for path in paths]
        sent = await self.send(planned)
        assert {request.status for request in sent} == {200}

    def runs(self, requests: Sequence[Request]) -> list[tuple[Request, Run]]:
        """Returns what handlers noted for these requests."""
        known = {request.id: request for request in requests}
        noted = notes.read(Path(self.system.env[notes.VARIABLE]))
        return [(known[run.request_id], run) for run in noted if run.request_id in known]


@dataclass(frozen=True, slots=True)
class Pair:
    """The whole system, and the one that lacks something."""

    whole: Side
    lacking: Side

    async def load(self, *streams: Stream) -> tuple[list[Request], list[Request]]:
        """Puts the same load on both, at the same time."""
        both = await asyncio.gather(self.whole.load(*streams), self.lacking.load(*streams))
        return both[0], both[1]

    async def warm(self, *paths: str, headers: str = "") -> None:
        await asyncio.gather(*(side.warm(*paths, headers=headers) for side in (self.whole, self.lacking)))


@contextlib.asynccontextmanager
async def side(running: System) -> AsyncIterator[Side]:
    """Opens a generator in front of a system."""
    host, port = running.apps[0].url.removeprefix("http://").split(":")
    async with generator(host, int(port), PATIENCE_S) as opened:
        yield Side(running, opened)


@contextlib.asynccontextmanager
async def pair(whole: System, lacking: System) -> AsyncIterator[Pair]:
    """Opens generators in front of both."""
    async with side(whole) as first, side(lacking) as second:
        yield Pair(first, second)


Lacking = Callable[[str], contextlib.AbstractAsyncContextManager[Pair]]
"""Starts a second system without the control that is named, beside the whole one."""


def beside(whole: System, directory: Path, url: str) -> Lacking:
    """Returns what starts the other side."""

    @contextlib.asynccontextmanager
    async def opened(name: str) -> AsyncIterator[Pair]:
        with started(directory, url, name) as lacking:
            async with pair(whole, lacking) as both:
                yield both

    return opened


def answered(requests: Sequence[Request]) -> int:
    return sum(request.status == 200 for request in requests)


def refusals(requests: Sequence[Request]) -> int:
    return sum(map(refused, requests))


def broken(requests: Sequence[Request]) -> int:
    """Returns how many were let in and not answered in time: the gateway says so itself, at the deadline."""
    return sum(request.status == 504 for request in requests)


def latency_s(requests: Sequence[Request], share: float, chosen: Callable[[Request], bool] = admitted) -> float:
    return percentile((request.latency_s for request in requests if chosen(request)), share)

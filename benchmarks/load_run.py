"""A running system with the open-loop client in front: what parts and profiles put their loads on.

Owns the numbering of requests, and how soundly the client worked. Must not know what a load means.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import notes, redis_server, sampler
from benchmarks.arrivals import Request, Stream, arrivals, write_records
from benchmarks.openloop import Generator, generator
from benchmarks.statistics import Breaches, Metric, Soundness, breaches, none_of
from benchmarks.testbed import HOST, Setup, System, lift_file_limit, pinned, running
from floodgate.peak.statistics import percentile, share

LEAD_S = 0.5
"""From planning a load to its first arrival."""
METER_S = 0.5
ASKED_AGAIN = frozenset({0, 429, 502, 503, 504})
"""Of a request that may be run twice; 0 is no answer."""
FIRST_DELAY_S, MOST_DELAY_S = 0.5, 30.0
SPREAD = 0.1
"""Many clients are given the same second; each comes up to a tenth later."""


@dataclass(slots=True)
class LoadRun:
    """One system under load; `requests` are all that were sent to it, retries included."""

    system: System
    generator: Generator
    seed: int
    origin_s: float = field(default_factory=time.monotonic)
    start_s: float = math.nan
    """When the last load began."""
    requests: list[Request] = field(default_factory=list)
    meter: list[tuple[float, float]] = field(default_factory=list)
    """Moment and the generator's processor time until then."""

    async def load(
        self,
        streams: Sequence[Stream],
        *,
        client: Callable[[Request], Coroutine[Any, Any, None]] | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> list[Request]:
        """Puts a load on the system and returns its requests, once all have ended; `beside` runs along."""
        planned = arrivals(streams, self.seed, len(self.requests))
        kinds = ", ".join(sorted({f"{stream.kind} on {stream.path}" for stream in streams}))
        seconds = max(stream.start_s + stream.seconds for stream in streams)
        print(f"{len(planned)} requests over {seconds:.0f} s: {kinds}", flush=True)
        return await self.send(planned, client=client, beside=beside)

    async def send(
        self,
        requests: list[Request],
        *,
        client: Callable[[Request], Coroutine[Any, Any, None]] | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> list[Request]:
        """The same for requests that are planned already."""
        self.requests += requests
        self.start_s = time.monotonic() + LEAD_S
        async with asyncio.TaskGroup() as group:
            metering = group.create_task(self._meter())
            along = group.create_task(beside()) if beside is not None else None
            await self.generator.run(requests, self.start_s, client)
            if along is not None:
                await along
            metering.cancel()
        return requests

    async def until(self, at_s: float) -> None:
        """Waits until `at_s` of the current load."""
        await asyncio.sleep(max(0.0, self.start_s + at_s - time.monotonic()))

    async def ask_patiently(self, request: Request, retries: int, chance: random.Random) -> Request:
        """Asks as a client worth copying does; every attempt is a request of its own. The last is returned."""
        for attempt in range(retries + 1):
            await self.generator.ask(request)
            if attempt == retries or request.status not in ASKED_AGAIN:
                break
            await asyncio.sleep(wait_s(attempt, request.retry_after_s, chance))
            request = _next(request)
            self.requests.append(request)
        return request

    def soundness(
        self,
        name: str,
        start_s: float = -math.inf,
        end_s: float = math.inf,
        sat_spread: float = 0.0,
        sat_spread_limit: float = math.inf,
    ) -> Soundness:
        """Returns, and shows, how well the generator worked between two moments of the monotonic clock."""
        intended = [request for request in self.requests if start_s <= request.intended_s < end_s]
        sent = [request for request in intended if request.sent_s < end_s or request.left]
        lags = [request.lag_s for request in intended if request.attempt == 0]
        achieved, lag_s = share(len(sent), len(intended)), percentile(lags, 0.99)
        found = Soundness(name, achieved, lag_s, self.busy(start_s, end_s), sat_spread, sat_spread_limit)
        print(found, flush=True)
        return found

    def busy(self, start_s: float = -math.inf, end_s: float = math.inf, over_s: float = 5.0) -> float:
        """Returns the share of its core that the generator used, in its busiest stretch of `over_s`."""
        within = [(at_s, used_s) for at_s, used_s in self.meter if start_s <= at_s <= end_s]
        span = round(over_s / METER_S)
        pairs = (
            zip(within, within[span:], strict=False)
            if len(within) > span
            else zip(within[:1], within[-1:], strict=True)
        )
        return max((share(after[1] - before[1], after[0] - before[0]) for before, after in pairs), default=math.nan)

    def breaches(self) -> Breaches:
        """Returns what may never happen, so far."""
        return breaches(self.requests, notes.read(self.system.notes), len(self.generator.strays))

    def exact_metrics(self) -> list[Metric]:
        """Returns the goals that hold exactly; asked once everything has been answered."""
        over = sampler.over_limit(sampler.read(self.system.samples))
        return [
            none_of("handlers started after their deadline", self.breaches().started_late),
            none_of("looks that saw more in flight than max_concurrency", over),
            none_of("slots leaked", self.system.slots_left()),
        ]

    async def _meter(self) -> None:
        while True:
            self.meter.append((time.monotonic(), time.process_time()))
            await asyncio.sleep(METER_S)


@contextlib.asynccontextmanager
async def load_run(setup: Setup, directory: Path, seed: int, patience_s: float) -> AsyncIterator[LoadRun]:
    """Runs a system, and a generator on a core of its own; keeps the records, whatever happens."""
    lift_file_limit()
    _, gateway_core, our_core = setup.cores
    with contextlib.ExitStack() as stack:
        with pinned(gateway_core):
            server = stack.enter_context(redis_server.opened())
        system = stack.enter_context(running(server, setup, directory))
        stack.enter_context(pinned(our_core))
        async with generator(HOST, system.gateway.port, patience_s) as opened:
            run = LoadRun(system, opened, seed)
            try:
                yield run
            finally:
                write_records(directory / "requests.csv", run.requests, run.origin_s)


def wait_s(attempt: int, retry_after_s: float, chance: random.Random) -> float:
    """Returns how long to wait after an attempt, the first being 0: what the server named, else a back-off.

    The back-off has "full jitter": anything from 0 to a limit that doubles.
    """
    if math.isnan(retry_after_s):
        return chance.uniform(0, min(MOST_DELAY_S, FIRST_DELAY_S * 2**attempt))
    return retry_after_s * chance.uniform(1, 1 + SPREAD)


def _next(request: Request) -> Request:
    return Request(
        request.number,
        math.nan,
        request.path,
        request.kind,
        request.phase,
        request.headers,
        attempt=request.attempt + 1,
    )

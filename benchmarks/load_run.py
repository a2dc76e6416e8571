"""A running system with the open-loop client in front: what parts and profiles put their loads on.

Owns the numbering of requests, and how soundly the client worked. Must not know what a load means.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import notes, redis_server, sampler
from benchmarks.arrivals import Request, Stream, arrivals, write_records
from benchmarks.openloop import Generator, generator
from benchmarks.patient_client import PatientClient, RetryBudget
from benchmarks.statistics import Breaches, Metric, Soundness, breaches, none_of
from benchmarks.testbed import HOST, Setup, System, lift_file_limit, pinned, running
from floodgate.peak.statistics import percentile, share

LEAD_S = 0.5
"""From planning a load to its first arrival."""
METER_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer as `PatientClient` looks at it."""

    status_code: int
    headers: dict[str, str]


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

    async def ask_patiently(self, request: Request, retries: int, chance: Any) -> Request:
        """Asks as a client worth copying does; every attempt is a request of its own. The last is returned."""
        attempts: list[Request] = []

        async def send() -> Seen:
            again = request if not attempts else _next(attempts[-1])
            if attempts:
                self.requests.append(again)
            attempts.append(again)
            await self.generator.ask(again)
            if again.status == 0:
                raise TimeoutError(again.reason)
            headers = {} if math.isnan(again.retry_after_s) else {"retry-after": f"{again.retry_after_s:g}"}
            return Seen(again.status, headers)

        client = PatientClient(retries=retries, budget=RetryBudget(), chance=chance)
        with contextlib.suppress(TimeoutError):
            await client.ask(send)
        return attempts[-1]

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

"""A fleet for the tests of faults, two gateways and two workers under gunicorn, and the account of what they did."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.conservation import MIX, Load, account, under_load
from benchmarks.fleet import Fleet, Member, drained, fleet
from benchmarks.handlers.faults import LIMIT, TIMEOUT_S
from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.leaks import leaks
from tests.engine.proxying import Proxy
from tests.engine.system import forking

WARM = 12
NUMBERS = 1_000_000
"""Between the requests of two loads on one fleet."""
SERVICE_S = 3.0
"""After which everything is served again, from the end of any fault on."""

forked = functools.partial(fleet, start=functools.partial(forking.start, server="gunicorn"))
"""A fleet whose masters are forks: a start costs a tenth."""


@dataclass(slots=True)
class Faults:
    """One fleet behind two proxies on one server, and the loads that were put on it."""

    fleet: Fleet
    server: EmbeddedServer
    proxies: Sequence[Proxy] = ()
    """Between Redis and the gateways, and between Redis and the workers."""
    loads: int = field(default=0)

    @property
    def gateways(self) -> list[Member]:
        return self.fleet.gateways

    @property
    def workers(self) -> list[Member]:
        return self.fleet.workers

    @contextlib.asynccontextmanager
    async def load(
        self,
        mix: Sequence[tuple[str, str, float]] = MIX,
        *,
        may_cut: tuple[Member, ...] = (),
        may_repeat: bool = False,
        careful: bool = False,
        restarts: bool = False,
    ) -> AsyncIterator[Load]:
        """Load the fleet while the block runs; then account for every request, every slot and every key."""
        self.loads += 1
        before = self.fleet.serving()
        first = self.loads * NUMBERS
        async with under_load(self.fleet, mix=mix, first=first, seed=self.loads, careful=careful) as load:
            while load.statuses()[200] < WARM:
                await asyncio.sleep(0.05)
            yield load
        found = account(load, self.fleet.notes, may_cut=may_cut, may_repeat=may_repeat)
        print(f"\n{found}", end=" ")
        assert found.complaints == []
        if not restarts:
            assert self.fleet.serving() == before, "a process has ended"
        await asyncio.to_thread(self.fleet.await_ready)
        await self._settle()

    async def _settle(self) -> None:
        """Wait until nothing is in flight, find no key that stays, and find a limit exact."""
        with contextlib.closing(Redis.from_url(self.server.url)) as client:
            taken = await asyncio.to_thread(drained, client, self.fleet, TIMEOUT_S + 3)
            assert taken == 0, f"{taken} slots are still taken"
            async with under_load(self.fleet, mix=(), first=self.loads * NUMBERS - 1000) as load:
                asked = await asyncio.gather(*(load.ask("/limited") for _ in range(3 * LIMIT)))
            assert sum(request.status == 200 for request in asked) == LIMIT, [request.status for request in asked]
            assert await asyncio.to_thread(drained, client, self.fleet, 2) == 0
            assert leaks(client, Keys(self.fleet.namespace)) == []


@contextlib.contextmanager
def proxied(directory: Path, server: EmbeddedServer, **env: str) -> Iterator[Faults]:
    """Run a fleet behind proxies."""
    with (
        Proxy(server.port) as gateways,
        Proxy(server.port) as workers,
        forked(directory, gateways.url, workers.url, env=env) as running,
    ):
        yield Faults(running, server, (gateways, workers))


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    """A fleet on a server of its own, for all tests of a module."""
    with EmbeddedServer() as server, proxied(tmp_path_factory.mktemp("fleet"), server) as running:
        yield running

"""The faults of `make soak`: each harms one place of a running system, and leaves it as it was.

Must not know what is counted meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from redis import Redis

from benchmarks.conservation import Load
from benchmarks.fleet import END_S, Fleet, Member
from floodgate.run.embedded_server import EmbeddedServer


@dataclass(frozen=True, slots=True)
class Place:
    """Where faults happen, and the chance that decides on them."""

    fleet: Fleet
    server: EmbeddedServer
    load: Load
    chance: random.Random

    def redis(self) -> Redis:
        return Redis(port=self.server.port, socket_timeout=2)

    def worker(self) -> Member:
        return self.chance.choice(self.fleet.workers)

    def gateway(self) -> Member:
        return self.chance.choice(self.fleet.gateways)


async def worker_killed(place: Place) -> None:
    place.worker().hit(signal.SIGKILL)


async def gateway_killed(place: Place) -> None:
    gateway = place.gateway()
    gateway.hit(signal.SIGKILL)
    await _out_of_rotation(place, gateway)


async def worker_stopped(place: Place) -> None:
    await _stopped(place.worker(), place.chance.uniform(0.2, 4))


async def gateway_stopped(place: Place) -> None:
    # Shorter than what its clients wait for.
    await _stopped(place.gateway(), place.chance.uniform(0.2, 1))


async def worker_blocked(place: Place) -> None:
    await place.load.ask(f"/blocks?seconds={place.chance.uniform(0.5, 3):.1f}", "POST")


async def worker_replaced(place: Place) -> None:
    await _replaced(place.worker())


async def gateway_replaced(place: Place) -> None:
    await _replaced(place.gateway())


async def poisoned(place: Place) -> None:
    await place.load.ask("/poison")


async def redis_frozen(place: Place) -> None:
    place.server.freeze()
    await asyncio.sleep(place.chance.uniform(0.1, 5))
    place.server.thaw()


async def redis_restarted(place: Place) -> None:
    place.server.kill()
    await asyncio.sleep(place.chance.uniform(0, 2))
    place.server.start()


async def data_lost(place: Place) -> None:
    with place.redis() as client:
        client.flushall()


async def scripts_lost(place: Place) -> None:
    with place.redis() as client:
        client.script_flush()


async def connections_cut(place: Place) -> None:
    for _ in range(place.chance.randint(1, 10)):
        with place.redis() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.1)


async def redis_full(place: Place) -> None:
    with place.redis() as client:
        client.config_set("maxmemory", 1)
        await asyncio.sleep(place.chance.uniform(0.5, 3))
        client.config_set("maxmemory", 0)


async def _out_of_rotation(place: Place, gateway: Member) -> None:
    """Sends nothing to a gateway until it is ready again, as a balancer does."""
    everybody = place.load.rotation
    at = place.fleet.gateways.index(gateway)
    place.load.rotation = [*everybody[:at], *everybody[at + 1 :]]
    await asyncio.to_thread(place.fleet.await_ready)
    place.load.rotation = everybody


async def _stopped(member: Member, seconds: float) -> None:
    serving = member.serving
    if serving is not None:
        member.hit(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        member.hit(signal.SIGCONT)


async def _replaced(member: Member) -> None:
    """Tells a member to end, and starts it anew."""
    member.tell(signal.SIGTERM)
    await asyncio.to_thread(member.ended, END_S)
    await asyncio.to_thread(member.kill)
    member.up()


FAULTS: tuple[Callable[[Place], Awaitable[None]], ...] = (
    *(worker_killed, gateway_killed, worker_stopped, gateway_stopped, worker_blocked, worker_replaced),
    *(gateway_replaced, poisoned, redis_frozen, redis_restarted, data_lost, scripts_lost, connections_cut, redis_full),
)

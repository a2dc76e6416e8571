"""`make soak`: two gateways, two workers and Redis under load for a long time, with faults at random, and an account.

Every request that was sent was answered, refused, or its client is gone; nothing stays in flight; memory is flat; no
key is without an end. A seed gives the same order of faults. Exit code: 0 all of it holds, 1 not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.conservation import Account, Load, account, under_load
from benchmarks.fleet import Fleet, drained, fleet, left_behind
from benchmarks.handlers.faults import TIMEOUT_S
from benchmarks.soak_faults import FAULTS, Place
from floodgate.run.embedded_server import EmbeddedServer

MIX = (
    ("GET", "/quick", 16.0),
    ("POST", "/once", 10.0),
    ("GET", "/thread", 6.0),
    ("GET", "/limited", 4.0),
    ("GET", "/holds?seconds=0.5", 3.0),
    ("POST", "/holds?seconds=0.5", 3.0),
)
LEAVING = 0.05
"""Of all clients, within `LEAVE_S`."""
LEAVE_S = 0.3
KEPT = ("--appendonly", "yes")
SAMPLE_S = 1.0
PAUSE_S = (0.5, 3.0)
"""Between two faults: some meet what the one before has left."""
WARM_S, LAST_S = 3.0, 3.0
"""Without a fault, at the begin and at the end."""
GROWTH = 1.25
SPARE_KB = 8 * 1024
"""Memory is flat if in the last third of the time it is at most `GROWTH` times what it was in the first, and that."""


@dataclass(slots=True)
class Memory:
    """What every process used, in kB, at moments since the start."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, at_s: float, fleet: Fleet, server: EmbeddedServer) -> None:
        with contextlib.suppress(psutil.Error):  # a process that ends this moment
            for name, kb in fleet.resident_kb().items():
                self.samples[name.partition("-")[0]].append((at_s, kb))
        with contextlib.suppress(RedisError), Redis(port=server.port, socket_timeout=0.5) as client:
            self.samples["redis"].append((at_s, client.info("memory")["used_memory"] / 1024))

    def growth(self, seconds: float) -> list[str]:
        """Returns a line for everybody who used more in the last third than in the first."""
        lines = []
        for name, samples in self.samples.items():
            first = [kb for at_s, kb in samples if at_s < seconds / 3]
            last = [kb for at_s, kb in samples if at_s > seconds * 2 / 3]
            print(f"memory of {name}: {max(first) / 1024:.1f} MiB at first, {max(last) / 1024:.1f} at last")
            if max(last) > GROWTH * max(first) + SPARE_KB:
                lines.append(f"memory of {name} has grown from {max(first):.0f} to {max(last):.0f} kB")
        return lines


async def soak(directory: Path, seconds: float, seed: int) -> list[str]:
    """Runs all of it, prints what happens, and returns what should not have been."""
    chance, memory, happened = random.Random(seed), Memory(), Counter[str]()
    with EmbeddedServer(args=KEPT) as server, fleet(directory, server.url) as running:
        began_s = time.monotonic()
        async with under_load(running, mix=MIX, seed=seed, leaving=(LEAVING, LEAVE_S)) as load:
            sampling = asyncio.create_task(_sample(memory, began_s, running, server))
            await asyncio.sleep(WARM_S)
            place = Place(running, server, load, chance)
            while (at_s := time.monotonic() - began_s) < seconds - LAST_S:
                fault = chance.choice(FAULTS)
                happened[fault.__name__] += 1
                print(f"{at_s:7.1f} s  {fault.__name__}", flush=True)
                await fault(place)
                await asyncio.sleep(chance.uniform(*PAUSE_S))
            await asyncio.to_thread(running.await_ready)
            healed_s = time.monotonic()
            await asyncio.sleep(LAST_S)
            sampling.cancel()
        complaints = [f"not served at the end: {load.statuses(healed_s)}"] if load.served_again_s(healed_s) > 1 else []
        complaints += _left(running, server, load) + memory.growth(time.monotonic() - began_s)
    print(f"faults: {sum(happened.values())} of {len(happened)} sorts")
    return complaints


def _left(running: Fleet, server: EmbeddedServer, load: Load) -> list[str]:
    """Returns the breaches of conservation, and what is still there when nothing should be."""
    found: Account = account(load, running.notes, may_cut=running.gateways)
    print(f"conservation: {found}")
    complaints = list(found.complaints)
    if found.counts["sent"] != found.counts.total() - found.counts["sent"]:
        complaints.append("what was sent is not the sum of what became of it")
    with contextlib.closing(Redis(port=server.port)) as client:
        if taken := drained(client, running, TIMEOUT_S + 3):
            complaints.append(f"{taken} slots are still taken")
        return complaints + left_behind(client, running.namespace)


async def _sample(memory: Memory, began_s: float, running: Fleet, server: EmbeddedServer) -> None:
    while True:
        await asyncio.to_thread(memory.take, time.monotonic() - began_s, running, server)
        await asyncio.sleep(SAMPLE_S)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long; %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of faults and arrivals; any")
    options = parser.parse_args(arguments)
    print(f"{options.seconds:.0f} s with seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        complaints = asyncio.run(soak(Path(directory), options.seconds, options.seed))
    print("\n".join(complaints) or "passed: nothing is lost, nothing is left")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())

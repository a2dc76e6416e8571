"""Says when processes of another release are here, and which routes they see differently.

Looks once in a while and only logs: what passes between releases is decided by
the gateways' choice of lanes. Never ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random

from floodgate.broker.commands import read_contracts
from floodgate.broker.connection import Client, redis_errors
from floodgate.broker.keys import Keys
from floodgate.declare.registry import STRANGER, Registry
from floodgate.errors import Unavailable
from floodgate.operations.logs import fields

log = logging.getLogger("floodgate.worker")

CALL_S = 2.0


class Neighbours:
    """The other contracts that this process has spoken of."""

    def __init__(self, client: Client, keys: Keys, registry: Registry) -> None:
        self._client = client
        self._keys = keys
        self._registry = registry
        self._said: set[tuple[str, str, str]] = set()

    async def look(self) -> None:
        """Look once; raises `Unavailable`."""
        with redis_errors():
            async with asyncio.timeout(CALL_S), self._client.pipeline(transaction=False) as pipe:
                pipe.hgetall(self._keys.contracts())
                pipe.smembers(self._keys.lanes())
                contracts, lanes = await pipe.execute()
        own = self._registry.contract
        there = {lane.decode("ascii", "replace").partition(":")[0] for lane in lanes}
        for contract in there - {own}:  # a gateway is known by its lanes alone
            self._say(contract, "", "another release is here: no task passes where it differs")
        others = read_contracts(contracts)
        for contract in sorted(self._registry.strangers(others)):
            self._say(contract, "", STRANGER, logging.ERROR)
        for contract, label in sorted(self._registry.disagreements(others)):
            if contract in there:
                self._say(contract, label, "workers of another release disagree about a route")

    def _say(self, contract: str, label: str, event: str, level: int = logging.WARNING) -> None:
        if (contract, label, event) not in self._said:
            self._said.add((contract, label, event))
            log.log(level, event, extra=fields(contract=contract, **({"route": label} if label else {})))


async def look_forever(neighbours: Neighbours, period_s: float) -> None:
    """Look for ever; ends by cancellation. Out of step on purpose: what reap removes is there for a moment only."""
    while True:
        try:
            await neighbours.look()
        except Unavailable as error:
            log.debug("look failed", extra=fields(reason=str(error)))
        await asyncio.sleep(random.uniform(0.5, 1.5) * period_s)

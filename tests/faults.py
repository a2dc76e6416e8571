"""What the kit can do to a system: a worker that dies, and a route whose places are taken.

Owns how it is done for real, by the engine's own means and the queue's scripts.
Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from floodgate.broker.commands import MAX_BATCH, admit, cancel, renew
from floodgate.broker.connection import connect, run
from floodgate.broker.keys import Keys, lane_of
from floodgate.broker.lifecycle import AdmitCode
from floodgate.declare.registry import Handler, Registry
from floodgate.operations.settings import Settings
from floodgate.worker.runs import Event
from floodgate.worker.runtime import Engine
from tests.queueing import admission

HOLD_MS = 60_000
"""How long places stay taken when nobody gives them back."""
PLACES = 10_000
"""Of the claimer for whom they wait: more than they are, or they would be refused as too late."""

FORGET_S = 0.26
"""A gateway remembers a refusal for up to a quarter of a second; after that the route is as it was."""

Function = Callable[..., Any]
Overrides = Mapping[Function | str, Function]
Strike = Callable[["Worker", Function], Coroutine[Any, Any, None]]


class Worker(Engine):
    """A worker at work that can die; it awaits `strike` when a handler has done its work, before the answer leaves."""

    def __init__(self, settings: Settings, registry: Registry, overrides: Overrides | None, strike: Strike) -> None:
        self._strike = strike
        handlers = tuple(self._struck(handler) for handler in registry.handlers)
        super().__init__(settings, dataclasses.replace(registry, handlers=handlers), overrides)
        self.running = asyncio.create_task(self.run())

    def die(self) -> None:
        """End as a killed process does: send nothing, renew nothing. The thread of a sync handler runs on, unheard."""
        for executor in (claimer.executor for claimer in self._claimers):
            for held in executor.runs.values():
                executor.tell(held, Event.RELEASE)
            executor.close()
        self.running.cancel()

    def _struck(self, handler: Handler) -> Handler:
        function, loop = handler.function, asyncio.get_running_loop()

        async def on_loop(**arguments: Any) -> Any:
            try:
                return await function(**arguments)
            finally:
                await self._strike(self, function)

        def in_thread(**arguments: Any) -> Any:
            try:
                return function(**arguments)
            finally:
                if not loop.is_closed():  # the test may be over
                    asyncio.run_coroutine_threadsafe(self._strike(self, function), loop).result()

        return dataclasses.replace(handler, function=on_loop if handler.kind == "a" else in_thread)


@asynccontextmanager
async def all_places_taken(settings: Settings, handler: Handler) -> AsyncIterator[None]:
    """Take every free place of a route by tasks that wait in a lane of their own, from which nobody claims."""
    keys, client, lane = Keys(settings.namespace), connect(settings), lane_of("taken", handler.kind, 0)
    claimer = f"{secrets.token_hex(6)}.{handler.kind}.{PLACES}"
    register = functools.partial(renew, keys, claimer=claimer, lease_ms=HOLD_MS, lanes=[lane], leases=[])
    taken: list[str] = []
    try:
        now_ms = (await run(client, register(register_ms=HOLD_MS))).now_ms
        room = True
        while room:
            names = [secrets.token_hex(8) for _ in range(MAX_BATCH)]
            asked = [admission(now_ms, name, route=handler.route, lane=lane, budget_ms=HOLD_MS) for name in names]
            reply = await run(client, admit(keys, valid_until_ms=now_ms + HOLD_MS, requests=asked))
            codes = [verdict.code for verdict in reply.verdicts]
            taken += [one.id for one, code in zip(asked, codes, strict=True) if code is AdmitCode.ADMITTED]
            room = codes[-1] is AdmitCode.ADMITTED
        yield
    finally:
        for at in range(0, len(taken), MAX_BATCH):
            await run(client, cancel(keys, taken[at : at + MAX_BATCH]))
        await run(client, register(register_ms=0))
        await client.aclose()
        await asyncio.sleep(FORGET_S)

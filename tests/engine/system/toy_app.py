"""An ASGI app that notes in a file when it is told to drain and when it shut down."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SLOW_S = 0.8


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


class Toy:
    """`/slow` answers after `SLOW_S` and `/endless` never; `/knot` leaves an old cycle and `/knots` counts them."""

    def __init__(self, notes: Path, shutdown_delay_s: float, collects_by_time: bool) -> None:
        self._notes = notes
        self.shutdown_delay_s = shutdown_delay_s
        self.collects_by_time = collects_by_time
        self._knots: weakref.WeakSet[Knot] = weakref.WeakSet()

    def begin_drain(self) -> None:
        self._note("drain")

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._note("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(SLOW_S)
        elif scope["path"] == "/endless":
            await asyncio.sleep(3600)
        body = os.environ.get("MASTER_STARTED", "").encode()
        if scope["path"] == "/knot":
            knot = Knot()
            self._knots.add(knot)
            gc.collect(1)  # held meanwhile, it gets as old as what a waiting request holds
        elif scope["path"] == "/knots":
            body = f"{len(self._knots)} {gc.get_threshold()}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def _note(self, word: str) -> None:
        with self._notes.open("a") as file:
            file.write(word + "\n")


def build() -> Toy:
    """What gunicorn is given."""
    notes, shutdown_delay_s = Path(os.environ["TOY_NOTES"]), float(os.environ.get("TOY_SHUTDOWN_DELAY_S", "0"))
    return Toy(notes, shutdown_delay_s, os.environ.get("TOY_COLLECTS_BY_TIME") == "1")

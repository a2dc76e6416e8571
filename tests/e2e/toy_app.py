"""An ASGI app that notes in a file when it is told to drain and when it shut down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SLOW_S = 0.8


class Toy:
    """`/slow` answers after `SLOW_S` and `/endless` never."""

    def __init__(self, notes: Path, unready_s: float) -> None:
        self._notes = notes
        self.unready_s = unready_s

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
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def _note(self, word: str) -> None:
        with self._notes.open("a") as file:
            file.write(word + "\n")


def build() -> Toy:
    """What gunicorn is given."""
    return Toy(Path(os.environ["TOY_NOTES"]), float(os.environ.get("TOY_UNREADY_S", "0")))

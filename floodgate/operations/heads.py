"""Bounds what a client may send that is no body, and how long it may take for the head of a request.

Uvicorn and its parser keep every byte of a head that never ends: one connection fills
the memory of its process. A balancer bounds both, so this is for whoever has none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 512 * 1024
"""Between the ends of two heads, without bodies. More than what is read at once, and than any head that is answered."""
FRAMED = 8
"""So many bytes may come for each byte of a body: chunks of a single byte take six."""
HEAD_S = 30.0
AT_ONCE = 500
"""Connections that are looked at before others have their turn: a millisecond."""


class BoundedHeads(HttpToolsProtocol):
    """Uvicorn's connection; it is cut when it sends on and on, and no head or body comes of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._seen: tuple[object, float] | None = None

    def data_received(self, data: bytes) -> None:
        """Read what came; cut the connection over the bound."""
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, for which framing may come as well."""
        self._head_bytes = max(0, self._head_bytes - FRAMED * len(body))
        super().on_body(body)

    def cut_if_slow(self, now_s: float) -> None:
        """Cut the connection when the head that it owes takes too long; uvicorn times one that is kept alive."""
        cycle = self.cycle
        owes = self.timeout_keep_alive_task is None and (cycle is None or cycle.response_complete)
        if not owes or self.transport.is_closing():
            self._seen = None
        elif self._seen is None or self._seen[0] is not cycle:
            self._seen = cycle, now_s
        elif now_s - self._seen[1] > HEAD_S:
            self.transport.abort()


async def cut_slow_heads(connections: Iterable[Any]) -> None:
    """Look at the connections of a server, once in a while: nothing is paid per request."""
    now_s, all_of_them = time.monotonic(), list(connections)
    for at in range(0, len(all_of_them), AT_ONCE):
        for connection in all_of_them[at : at + AT_ONCE]:
            if isinstance(connection, BoundedHeads):
                connection.cut_if_slow(now_s)
        await asyncio.sleep(0)

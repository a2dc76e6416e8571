"""The queued routes of `make bench` and `make capacity`, of `make compare`, and one that echoes its body."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body
from fastapi.sse import EventSourceResponse

from benchmarks.database import BEST
from benchmarks.handlers.plain import REPORT_TIMEOUT_S, ROUTES, answer, events, hold, model, query, report
from shared import queued

LIMIT = 20_000
"""Above every load of the benchmark: nothing is to be refused."""
PATIENCE_S = 120
OCTETS = "application/octet-stream"


async def echo(data: Annotated[bytes, Body(media_type=OCTETS)]) -> bytes:
    """Returns the body: the same bytes go all the way there and back."""
    return data


if ROUTES:
    for number in range(ROUTES):
        queued(f"/route/{number}", max_concurrency=LIMIT)(answer)
else:
    queued("/queue", max_concurrency=LIMIT)(answer)
    queued("/queue-query", max_concurrency=LIMIT)(query)
    queued("/queue-model", method="POST", max_concurrency=LIMIT)(model)
    queued("/queue-hold", max_concurrency=LIMIT, timeout_s=PATIENCE_S)(hold)
    queued("/queue-echo", method="POST", max_concurrency=1000, media_type=OCTETS)(echo)
    queued("/queue-events", LIMIT, stream_s=PATIENCE_S, response_class=EventSourceResponse)(events)
    queued("/report", max_concurrency=1000, timeout_s=REPORT_TIMEOUT_S, max_running=BEST)(report)

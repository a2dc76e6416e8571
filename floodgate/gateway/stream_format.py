"""What the gateway itself puts into a streamed answer: headers, pings, and the event of a stream that broke.

Only between whole items. Must not know how items travel.
"""

from __future__ import annotations

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from floodgate.broker.envelopes import Headers
from floodgate.declare.streaming import StreamFormat
from floodgate.gateway.responses import Problem

PING_S = 15.0
"""Of silence, then an event stream says that it lives; FastAPI's own. Proxies' time-outs are longer."""

_HEADERS: Headers = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
)


def headers_of(format: StreamFormat, own: Headers) -> Headers:
    """Return what a format adds to the headers of its stream; those that the handler has set are left alone."""
    if format is not StreamFormat.SSE:
        return ()
    names = {name for name, _ in own}
    return tuple(header for header in _HEADERS if header[0] not in names)


def ping(format: StreamFormat) -> bytes | None:
    """Return what keeps a silent stream open, or None where a format has nothing that clients pass over."""
    return KEEPALIVE_COMMENT if format is StreamFormat.SSE else None


def problem_event(format: StreamFormat, problem: Problem) -> bytes | None:
    """Return the event that tells why a stream breaks off, or None where its broken connection has to say it all.

    It is called `problem`: `error` is what EventSource itself calls a lost connection.
    """
    if format is not StreamFormat.SSE:
        return None
    return format_sse_event(event="problem", data_str=problem.model_dump_json())

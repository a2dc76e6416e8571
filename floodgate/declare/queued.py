"""The decorator `queued`: it notes what is declared and returns the same function, which stays directly callable.

All checks run when the registry is built (`floodgate.declare.checks`), so that
gateway, worker and `make check` fail alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Never, TypeVar

from starlette.responses import StreamingResponse

from floodgate.declare.head import PriorityOf, Rate, TenantOf
from floodgate.declare.idempotency import IdempotencyOf
from floodgate.declare.registry import DECLARATIONS, AdmissionOptions, Declaration, Level, Presentation
from floodgate.declare.streaming import StreamOptions

Function = TypeVar("Function", bound=Callable[..., Any])


def queued(
    path: str,
    max_concurrency: int,
    *,
    method: str = "GET",
    timeout_s: float | None = None,
    attempts: int | None = None,
    level: Level = 0,
    status_code: int = 200,
    media_type: str | None = None,
    tags: Sequence[str] = (),
    summary: str | None = None,
    examples: Mapping[str, Sequence[Any]] | None = None,
    deprecated: bool | None = None,
    include_in_schema: bool = True,
    rate: Rate | None = None,
    priority: PriorityOf | None = None,
    tenant: TenantOf | None = None,
    max_running: int | None = None,
    async_timeout_s: float | None = None,
    idempotency: IdempotencyOf = None,
    response_class: type[StreamingResponse] | None = None,
    stream_s: float | None = None,
    stream_idle_s: float | None = None,
    resumable: bool = False,
    resume_s: float | None = None,
    **unknown: Never,
) -> Callable[[Function], Function]:
    """Declare a function as a queued route; the function itself stays as it is.

    `max_concurrency` tasks of the route at most are in the system, waiting and
    running together, over the whole fleet; what does not fit is refused with 503.
    `timeout_s` (default: the setting `FLOODGATE_TIMEOUT_S`) is how long a client waits.
    `attempts` is how often it may be started when workers die: 2 for GET, HEAD,
    PUT and DELETE, else 1. `level`, 0–9, is its cost class: a worker takes only
    tasks up to its `FLOODGATE_WORKER_MAX_LEVEL`; or a function of some of the handler's own
    validated arguments, by name, that returns it: ``level=lambda n: n > 1000``.

    `status_code`, `tags`, `summary`, `deprecated` and `include_in_schema` are
    FastAPI's. `media_type` other than JSON goes with a result of `bytes` or `str`.
    `examples` gives values per parameter: ``{"x": [2, 97]}``.

    `rate` is a token bucket per gateway process: what it does not let through gets
    429. `max_running` bounds how many run at once over all workers, to protect what
    stands behind. `priority` (critical, default, degraded, bulk) and `tenant` are
    values or functions of the request's `Head`: classes and tenants wait in turn.
    With `async_timeout_s`, ``Prefer: respond-async`` is answered with 202 and a
    place to ask for the result. With `idempotency`, a POST or PATCH that comes again under
    its ``Idempotency-Key`` runs once and is answered alike for a day, or so many seconds;
    see `Idempotency` for more.

    A generator function streams what it yields: as server-sent events with
    `response_class=EventSourceResponse`, as bytes with `StreamingResponse`, else as
    JSON Lines. `timeout_s` is then until the first item, `stream_s` (default 60) until
    the last; a reader that takes nothing for `stream_idle_s` (default 30) is cut.
    `resumable` and `resume_s` are reserved: what declares them does not start yet.

    Mistakes raise `DeclarationError` when the registry is built, at the start of a process.
    """
    caller = sys._getframe(1)  # a decorator's line is where its declaration stands: every error names it
    module = caller.f_globals.get("__name__", "")
    source = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    shown = Presentation(status_code, media_type, tags, summary, examples or {}, deprecated, include_in_schema)
    streaming = StreamOptions(response_class, stream_s, stream_idle_s, resumable, resume_s)
    admission = AdmissionOptions(rate, priority, tenant, max_running, async_timeout_s)

    def note(function: Function) -> Function:
        DECLARATIONS.append(
            Declaration(
                function=function,
                path=path,
                max_concurrency=max_concurrency,
                method=method,
                timeout_s=timeout_s,
                attempts=attempts,
                level=level,
                presentation=shown,
                admission=admission,
                idempotency=idempotency,
                streaming=streaming,
                unknown=tuple(unknown),
                source=source,
                module=module,
            )
        )
        return function

    return note

"""What `queued` noted, and the checked table that both apps are built from.

Owns the records: a `Declaration` as it was written, a `Handler` as it was checked,
the `Registry` of all. Must not know web frameworks or Redis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from starlette.responses import StreamingResponse

from floodgate.declare.head import PriorityOf, Rate, TenantOf
from floodgate.declare.idempotency import Idempotency, IdempotencyOf
from floodgate.declare.resource import Resource
from floodgate.declare.streaming import StreamFormat, StreamOptions
from floodgate.errors import DeclarationError

ExecutorKind = Literal["a", "s"]
"""Which executor runs a handler: the event loop (`a`) or a thread (`s`)."""

Level = int | Callable[..., int]
"""A cost class, or a function of some of the handler's own arguments, by name."""

MAX_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a route looks to its clients; as FastAPI means these words."""

    status_code: int = 200
    media_type: str | None = None
    tags: Sequence[str] = ()
    summary: str | None = None
    examples: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Parameter to example values: shown in `/docs`, and sent by the load tests."""
    deprecated: bool | None = None
    include_in_schema: bool = True


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """What admission asks of a route's requests beside its limit; each is optional."""

    rate: Rate | None = None
    priority: PriorityOf | None = None
    tenant: TenantOf | None = None
    max_running: int | None = None
    async_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one use of `@queued` said, unchecked."""

    function: Callable[..., Any]
    path: str
    max_concurrency: int
    method: str
    timeout_s: float | None
    attempts: int | None
    level: Level
    presentation: Presentation
    admission: AdmissionOptions
    idempotency: IdempotencyOf
    streaming: StreamOptions
    unknown: tuple[str, ...]
    source: str
    """`file:line` of the decorator, for error texts."""
    module: str
    """In which the decorator stands."""

    def is_of(self, package: str) -> bool:
        """Tell whether the decorator stands in a package.

        The function may be another module's, as may be what another decorator made of
        it; or it is the function that is at home, and a helper elsewhere calls `queued`.
        """
        modules = self.module, getattr(self.function, "__module__", None)
        return any(f"{module}.".startswith(f"{package}.") for module in modules)

    def refuse(self, text: str) -> NoReturn:
        """Raise `DeclarationError` with file, line, function and what to do instead."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        raise DeclarationError(f"{self.source}: {name}: {text}")


@dataclass(frozen=True, slots=True)
class Handler:
    """One checked route: everything that gateway and worker need to know of it."""

    function: Callable[..., Any]
    name: str
    path: str
    method: str
    max_concurrency: int
    timeout_s: float
    attempts: int
    level: Level
    presentation: Presentation
    admission: AdmissionOptions
    idempotency: Idempotency | None
    kind: ExecutorKind
    signature: inspect.Signature
    """What a request fills: annotations resolved, without `Context` and resources."""
    result: Any
    """The type of the answer's body: the return annotation, `Reply` taken off; `Signature.empty` when none.

    Where the handler streams, of each item.
    """
    context_name: str | None
    """The parameter that takes the `Context`, if the handler wants one."""
    resources: Mapping[str, Resource]
    """Parameter to what the worker keeps open for it."""
    route: str
    """Short digest of method and path: the route's name in Redis."""
    stream: StreamFormat | None
    """How its items are sent; None for a handler with one answer. `timeout_s` is until the head of a stream."""
    response_class: type[StreamingResponse] | None
    stream_s: float | None
    """How long a stream may take in all."""
    stream_idle_s: float
    """How long a reader may take nothing before its stream is cut."""
    resumable: bool
    """Whether a client that left may read on where it was, for `resume_s`."""
    resume_s: float
    signature_digest: str
    """Of parameters and result: a task is exchanged only where both sides have the same."""
    source: str

    @property
    def idempotent(self) -> bool:
        """Tell whether a second run is harmless (RFC 9110, 9.2.2)."""
        return self.method in IDEMPOTENT

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def levels(self) -> Sequence[int]:
        """Return every level that a task of this route may have."""
        return range(MAX_LEVEL + 1) if callable(self.level) else (self.level,)

    def level_of(self, arguments: Mapping[str, Any]) -> int:
        """Return the level of one request; raises what the user's function raises, or `ValueError` for its result."""
        if not callable(self.level):
            return self.level
        level = self.level(**{name: arguments[name] for name in inspect.signature(self.level).parameters})
        if not isinstance(level, int) or not 0 <= level <= MAX_LEVEL:
            raise ValueError(f"the level function of {self.label} returned {level!r}, not 0 to {MAX_LEVEL}")
        return int(level)  # a comparison is a level too


@dataclass(frozen=True, slots=True)
class Registry:
    """All handlers of one package, checked; read-only."""

    handlers: tuple[Handler, ...]
    release_digest: str
    """Of all routes and signatures: fleets with the same share their queues."""

    @property
    def signature_digests(self) -> dict[str, str]:
        return {handler.route: handler.signature_digest for handler in self.handlers}

    def disagreements(self, releases: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
        """Return release and label of every own route whose signature another release's workers read differently."""
        return {
            (release, handler.label)
            for release, digests in releases.items()
            for handler in self.handlers
            if digests.get(handler.route) != handler.signature_digest
        }

    def other_projects(self, releases: Mapping[str, Mapping[str, str]]) -> set[str]:
        """Return the releases of other projects: of the routes of whoever has fewer, less than half are common."""
        own = {handler.route for handler in self.handlers}
        return {
            release
            for release, digests in releases.items()
            if 2 * len(own & digests.keys()) < min(len(own), len(digests))
        }


OTHER_PROJECT = (
    "another project has this namespace: equal routes share tasks and limits; "
    "give one of them another FLOODGATE_NAMESPACE"
)
"""The log line for each of `Registry.other_projects`."""

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods whose second run is harmless (RFC 9110, 9.2.2): a task of theirs may be started again."""
METHODS = IDEMPOTENT | {"POST", "PATCH"}

DECLARATIONS: list[Declaration] = []
"""What `queued` noted in this process, in order: the only global of the engine."""


def declared_in(package: str) -> list[Declaration]:
    """Return what the modules of `package` declared so far, in order."""
    return [declaration for declaration in DECLARATIONS if declaration.is_of(package)]

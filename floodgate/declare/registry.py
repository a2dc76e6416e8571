"""The decorator, what it records, and the sealed table both apps are built from.

`queued` is inert: it notes the declaration and returns the same function. All
checks run when the registry is sealed (`floodgate.declare.checks`), so that gateway,
worker and `make check` fail alike. Must not know web frameworks or Redis.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Never, NoReturn, TypeVar

from floodgate.declare.head import PriorityOf, Rate, TenantOf
from floodgate.declare.resource import Resource
from floodgate.errors import DeclarationError

Function = TypeVar("Function", bound=Callable[..., Any])

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
    """What a route asks of the door beside its limit; each is optional."""

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
    kind: ExecutorKind
    signature: inspect.Signature
    """What a request fills: annotations resolved, without `Context` and resources."""
    result: Any
    """The type of the answer's body: the return annotation, `Reply` taken off; `Signature.empty` when none."""
    context_name: str | None
    """The parameter that takes the `Context`, if the handler wants one."""
    resources: Mapping[str, Resource]
    """Parameter to what the worker keeps open for it."""
    route: str
    """Short digest of method and path: the route's name in Redis."""
    shape: str
    """Digest of parameters and result: only equal shapes exchange tasks."""
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
    by_route: Mapping[str, Handler]
    contract: str
    """Digest of all routes and shapes: fleets of one contract share their queues."""

    @property
    def shapes(self) -> dict[str, str]:
        return {handler.route: handler.shape for handler in self.handlers}

    def disagreements(self, contracts: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str]]:
        """Return contract and label of every own route that other workers do not serve in the same shape."""
        return {
            (contract, handler.label)
            for contract, shapes in contracts.items()
            for handler in self.handlers
            if shapes.get(handler.route) != handler.shape
        }

    def strangers(self, contracts: Mapping[str, Mapping[str, str]]) -> set[str]:
        """Return the contracts of other projects: of the routes of whoever has fewer, less than half are common."""
        own = self.by_route.keys()
        return {
            contract
            for contract, shapes in contracts.items()
            if 2 * len(own & shapes.keys()) < min(len(own), len(shapes))
        }


STRANGER = (
    "another project has this namespace: equal routes share tasks and limits; "
    "give one of them another FLOODGATE_NAMESPACE"
)
"""What is said of `Registry.strangers`."""

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
METHODS = IDEMPOTENT | {"POST", "PATCH"}

_declarations: list[Declaration] = []


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
    place to ask for the result.

    Mistakes raise `DeclarationError` when the registry is sealed.
    """
    caller = sys._getframe(1)
    module = caller.f_globals.get("__name__", "")
    source = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    shown = Presentation(status_code, media_type, tags, summary, examples or {}, deprecated, include_in_schema)
    door = AdmissionOptions(rate, priority, tenant, max_running, async_timeout_s)
    rest = (path, max_concurrency, method, timeout_s, attempts, level, shown, door, tuple(unknown), source, module)

    def note(function: Function) -> Function:
        _declarations.append(Declaration(function, *rest))
        return function

    return note


def declared_in(package: str) -> list[Declaration]:
    """Return what the modules of `package` declared so far, in order."""
    return [declaration for declaration in _declarations if declaration.is_of(package)]

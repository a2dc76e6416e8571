"""The decorator, what it records, and the sealed table both apps are built from.

`queued` is inert: it notes the declaration and returns the same function. All
checks run when the registry is sealed (`shared.sealing`), so that gateway,
worker and `make check` fail alike. Must not know web frameworks or Redis.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Never, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

Kind = Literal["a", "s"]
"""Which executor runs a handler: the event loop (`a`) or a thread (`s`)."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one use of `@queued` said, unchecked."""

    function: Callable[..., Any]
    path: str
    max_concurrency: int
    method: str
    timeout_s: float | None
    attempts: int | None
    level: int
    unknown: tuple[str, ...]
    source: str
    """`file:line` of the decorator, for error texts."""


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
    level: int
    kind: Kind
    signature: inspect.Signature
    """Of the function, annotations resolved, without the `Context` parameter."""
    context_name: str | None
    """The parameter that takes the `Context`, if the handler wants one."""
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
    level: int = 0,
    **unknown: Never,
) -> Callable[[Function], Function]:
    """Declare a function as a queued route; the function itself stays as it is.

    `max_concurrency` tasks of the route at most are in the system, waiting and
    running together, over the whole fleet; what does not fit is refused with 503.
    `timeout_s` (default: the setting `TIMEOUT_S`) is how long a client waits.
    `attempts` is how often it may be started when workers die: 2 for GET, HEAD,
    PUT and DELETE, else 1. `level`, 0–9, is its cost class: a worker takes only
    tasks up to its `WORKER_MAX_LEVEL`.

    Mistakes raise `DeclarationError` when the registry is sealed.
    """
    frame = sys._getframe(1)
    source = f"{frame.f_code.co_filename}:{frame.f_lineno}"

    def note(function: Function) -> Function:
        _declarations.append(
            Declaration(function, path, max_concurrency, method, timeout_s, attempts, level, tuple(unknown), source)
        )
        return function

    return note


def declared_in(package: str) -> list[Declaration]:
    """Return what the modules of `package` declared so far, in order."""
    return [d for d in _declarations if f"{d.function.__module__}.".startswith(f"{package}.")]

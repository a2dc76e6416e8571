"""The marker by which a handler asks for something that its worker keeps open.

Owns how a factory is named, not how it is opened: that is `worker_app.resources`,
and the gateway never does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Resource:
    """What a worker process opens once: `db: Annotated[Pool, Resource(open_pool)]`.

    `factory` is a callable without arguments, or whose parameters are resources
    too: an async or sync generator function (also under `asynccontextmanager` or
    `contextmanager`) that yields the thing once and closes it after, or a plain
    function, async or sync, that returns it; an async context manager is entered.
    Sync ones run in a thread. By name, ``"package.module:factory"``, it is
    imported by workers only. One factory is opened once, however many ask for it.
    """

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[..., Any] | str) -> None:
        self.factory = factory

    def __repr__(self) -> str:
        return f"Resource({self.name})"

    @property
    def name(self) -> str:
        """Return what log lines and errors call it."""
        if isinstance(self.factory, str):
            return self.factory
        return f"{self.factory.__module__}:{getattr(self.factory, '__qualname__', repr(self.factory))}"


def resource_in(annotation: Any) -> Resource | None:
    """Return the resource that an annotation asks for, if it does."""
    found = [marker for marker in getattr(annotation, "__metadata__", ()) if isinstance(marker, Resource)]
    return found[-1] if found else None

"""The marker with which a handler asks for something that its worker keeps open.

Owns how a factory is named and what it needs itself. Must not open one: workers do,
in `floodgate.worker.resources`, and gateways never.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from floodgate.errors import ConfigurationError


class Resource:
    """What a worker process opens once: `db: Annotated[Pool, Resource(open_pool)]`.

    `factory` is a callable without arguments, or whose parameters are resources
    too. It may be a generator, async or sync, also under `asynccontextmanager` or
    `contextmanager`, that yields the thing once and closes it after; or a function
    or class, async or sync, that returns it. A returned async context manager is
    entered, and so is one of `contextlib`'s sync ones. Whatever is sync runs in a
    thread, which has no event loop: what needs one is an `async def`. By name,
    ``"package.module:factory"``, it is imported by workers only.

    One factory is opened once, however many ask for it.
    """

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[..., Any] | str) -> None:
        if isinstance(factory, str):
            module, _, name = factory.partition(":")
            if not module or not name:
                raise ValueError(f"Resource({factory!r}): write 'package.module:factory'")
        elif not callable(factory):
            raise TypeError(f"Resource takes a callable, or its name as text, not {factory!r}")
        self.factory = factory

    def __repr__(self) -> str:
        return f"Resource({self.name})"

    @property
    def name(self) -> str:
        """Return its name in log lines and errors."""
        if isinstance(self.factory, str):
            return self.factory
        return f"{self.factory.__module__}:{getattr(self.factory, '__qualname__', repr(self.factory))}"


def resource_in(annotation: Any) -> Resource | None:
    """Return the resource that an annotation asks for, if any."""
    found = [marker for marker in getattr(annotation, "__metadata__", ()) if isinstance(marker, Resource)]
    return found[-1] if found else None


def needs_of(factory: Callable[..., Any]) -> Mapping[str, Resource]:
    """Return the resources that a factory asks for, by parameter; raises `ConfigurationError` for any other."""
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except ValueError:  # a class written in C has no signature
        return {}
    needs = {}
    for parameter in parameters:
        needed = resource_in(parameter.annotation)
        if needed is not None:
            needs[parameter.name] = needed
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ConfigurationError(
                f"{Resource(factory).name} needs {parameter.name!r}, which nothing fills: "
                "give it a default, or Annotated[…, Resource(…)]"
            )
    return needs

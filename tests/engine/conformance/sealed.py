"""One function under `@queued`, sealed by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Registry, declared_in
from shared import queued


def sealed(function: Callable[..., Any], path: str = "/a", max_concurrency: int = 1, **parameters: Any) -> Registry:
    """Return the registry of this one declaration; raises `DeclarationError`."""
    queued(path, max_concurrency, **parameters)(function)
    return build_registry(declared_in(function.__module__)[-1:], timeout_s=10)

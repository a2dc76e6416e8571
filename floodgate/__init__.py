"""The names that handlers use. Each is imported when it is first asked for: `import floodgate` needs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from floodgate.declare.context import Caller, Context
    from floodgate.declare.head import Head, Rate
    from floodgate.declare.idempotency import Idempotency
    from floodgate.declare.queued import queued
    from floodgate.declare.reply import Reply
    from floodgate.declare.resource import Resource
    from floodgate.errors import HTTPError

__all__ = ["Caller", "Context", "HTTPError", "Head", "Idempotency", "Rate", "Reply", "Resource", "queued"]

_MODULES = {
    "Caller": "floodgate.declare.context",
    "Context": "floodgate.declare.context",
    "HTTPError": "floodgate.errors",
    "Head": "floodgate.declare.head",
    "Idempotency": "floodgate.declare.idempotency",
    "Rate": "floodgate.declare.head",
    "Reply": "floodgate.declare.reply",
    "Resource": "floodgate.declare.resource",
    "queued": "floodgate.declare.queued",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)

"""The public face: what a module under `shared/handlers/` imports."""

from shared.context import Context
from shared.errors import HTTPError
from shared.registry import queued

__all__ = ["Context", "HTTPError", "queued"]

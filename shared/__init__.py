"""The public face: what a module under `shared/handlers/` imports."""

from shared.context import Caller, Context
from shared.errors import HTTPError
from shared.head import Head, Rate
from shared.registry import queued
from shared.reply import Reply
from shared.resource import Resource

__all__ = ["Caller", "Context", "HTTPError", "Head", "Rate", "Reply", "Resource", "queued"]

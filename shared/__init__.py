"""The public face: what a module under `shared/handlers/` imports."""

from floodgate.declare.context import Caller, Context
from floodgate.declare.head import Head, Rate
from floodgate.declare.registry import queued
from floodgate.declare.reply import Reply
from floodgate.declare.resource import Resource
from floodgate.errors import HTTPError

__all__ = ["Caller", "Context", "HTTPError", "Head", "Rate", "Reply", "Resource", "queued"]

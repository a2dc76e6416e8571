"""The public face: what a module under `shared/handlers/` imports."""

from floodgate import Caller, Context, Head, HTTPError, Rate, Reply, Resource, queued

__all__ = ["Caller", "Context", "HTTPError", "Head", "Rate", "Reply", "Resource", "queued"]

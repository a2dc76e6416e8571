"""The public face: what a module under `shared/handlers/` imports."""

from floodgate import Caller, Context, Head, HTTPError, Idempotency, Rate, Reply, Resource, queued

__all__ = ["Caller", "Context", "HTTPError", "Head", "Idempotency", "Rate", "Reply", "Resource", "queued"]

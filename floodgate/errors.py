"""Every error the engine raises, grouped by whose fault it is.

Stands below everything: it imports nothing of the project. Must not know HTTP
statuses of engine outcomes; those stand in `floodgate.gateway.outcomes`.
"""

from __future__ import annotations

from collections.abc import Mapping


class FloodgateError(Exception):
    """Root of everything the engine raises on purpose."""


# The handler's author


class DeclarationError(FloodgateError):
    """A handler is declared wrongly; the text names file, line and repair."""


class HTTPError(FloodgateError):
    """What a handler raises to answer with a status of its own.

    `status` is 400–599; `detail` is any JSON value and reaches the client as
    ``{"detail": …}``, as FastAPI's `HTTPException` does; `headers` go with it.
    """

    def __init__(self, status: int, detail: object = None, headers: Mapping[str, str] | None = None) -> None:
        if not isinstance(status, int) or not 400 <= status <= 599:
            raise ValueError(f"HTTPError takes a status from 400 to 599, not {status!r}")
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


# The operator


class ConfigurationError(FloodgateError):
    """A setting is missing or contradicts another; the text names the repair."""


# The process


class WorkerFailed(FloodgateError):
    """A worker process cannot go on; it has ended what it could, and its server starts another."""


# Redis and the network


class Unavailable(FloodgateError):
    """Redis does not answer, or is loading, or no primary any more; reconnect with back-off."""


class TimedOut(Unavailable):
    """Redis did not answer in time, on a connection that did not break."""


class StoreFull(FloodgateError):
    """Redis refused a write because its memory is full; the connection is fine."""


# Data that cannot be read


class DecodeError(FloodgateError):
    """Bytes from Redis that no version of this program wrote."""


class UnsupportedVersion(DecodeError):
    """A well-formed envelope of another version."""

    def __init__(self, version: object) -> None:
        super().__init__(f"envelope version {version!r}")

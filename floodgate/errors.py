"""Every error the engine raises, grouped by whose fault it is.

Stands below everything: it imports nothing of the project. It must not know
HTTP statuses of engine outcomes; those stand in `floodgate.gateway.responses`.
"""

from __future__ import annotations

from collections.abc import Mapping


class FloodgateError(Exception):
    """Root of everything the engine raises on purpose."""


# The handler's author


class DeclarationError(FloodgateError):
    """A handler is declared wrongly; the text names file, line and the mend."""


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
    """A setting is missing or contradicts another; the text names the mend."""


# The process


class WorkerFailed(FloodgateError):
    """A worker process cannot do its work any more; it has ended what it could, and another is to be started."""


# Redis and the network


class Unavailable(FloodgateError):
    """Redis does not answer, or is not in a state to; reconnect with back-off."""


class TimedOut(Unavailable):
    """Redis did not answer in time, and nothing was heard of its connection breaking."""


class StoreFull(FloodgateError):
    """Redis refused a write since it has no memory left; the connection is fine."""


# Data that is not what it should be


class DecodeError(FloodgateError):
    """Bytes from Redis that no version of this program wrote."""


class UnsupportedVersion(DecodeError):
    """A well-formed envelope of another version; `task_id` says whose."""

    def __init__(self, version: object) -> None:
        super().__init__(f"envelope version {version!r}")

"""The connection under a request, which ASGI does not show: whether it is closed, and how to end it.

Uvicorn's `send` is a method of its cycle of one request and answer, whose `transport`
and `disconnected` are read and set here. Under any other server there is nothing to
see, and nothing is done. Must not know what is sent.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

_KEY = "floodgate_connection"


class Connection:
    """Of one request; `note` puts it into the scope, before anything wraps `send`."""

    __slots__ = ("_cycle",)

    def __init__(self, send: Any) -> None:
        self._cycle: Any = getattr(send, "__self__", None)

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing can be sent any more."""
        transport = getattr(self._cycle, "transport", None)
        return transport is not None and bool(transport.is_closing())

    def give_up(self) -> None:
        """Let the server know that the answer ends here, which it would take for a fault of the application.

        Of several requests that a client has sent at once, uvicorn tells only the last one that its client left.
        """
        if hasattr(self._cycle, "disconnected"):
            self._cycle.disconnected = True

    def cut(self) -> None:
        """End the connection at once: closing it would wait until the client has read what is written."""
        self.give_up()
        if (transport := getattr(self._cycle, "transport", None)) is not None:
            transport.abort()


def note(scope: MutableMapping[str, Any], send: Any) -> None:
    """Remember the connection; called with the server's own `send`."""
    scope[_KEY] = Connection(send)


def connection_of(scope: MutableMapping[str, Any], send: Any) -> Connection:
    """Take out what was noted, or else what `send` shows; left in, scope and connection would hold each other."""
    return scope.pop(_KEY, None) or Connection(send)

"""Everything under `/-/`: live and ready for anyone, the operators' pages for whom `auth` allows.

A bare ASGI application around the pages, so that no router decides what is protected.
Must not know the pages. All of them only show something: the first one that changes
something has to refuse cross-site requests, since browsers add Basic credentials to those too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pydantic import SecretStr

from floodgate.operations.auth import OpsAuth

log = logging.getLogger("floodgate")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PREFIX = "/-/"
LIVE, READY = "live", "ready"
POLICY_VIOLATION = 1008
_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
]


class OpsEndpoints:
    """Answers live and ready, and lets through to `pages`, by their path below `/-/`. Closed by default."""

    def __init__(self, pages: Mapping[str, App], token: SecretStr | None, is_ready: Callable[[], bool]) -> None:
        self._pages = pages
        self._auth = OpsAuth(token)
        self._is_ready = is_ready
        self._closed_logged = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        before, found, page = scope["path"].partition(PREFIX)
        if not found or before not in ("", scope.get("root_path", "")):
            await _answer(send, 404)
        elif page not in (LIVE, READY) and not self._auth.allows(scope):
            await self._refuse(scope, send)
        elif page not in (LIVE, READY, *self._pages):
            await _answer(send, 404)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, (b"allow", b"GET, HEAD"))
        elif page in self._pages:
            await self._pages[page](scope, receive, send)
        else:
            await _answer(send, 200 if page == LIVE or self._is_ready() else 503)

    async def _refuse(self, scope: Message, send: Send) -> None:
        if self._auth.has_token:
            scheme = b"Basic" if _is_browser(scope) else b"Bearer"  # Basic makes a browser ask for the token
            text = b"The operators' token is needed: as Authorization: Bearer, or as the password in a browser.\n"
            await _answer(send, 401, (b"www-authenticate", scheme + b' realm="operators"'), body=text)
            return
        if not self._closed_logged:
            self._closed_logged = True
            log.warning("/-/ is closed to all but requests from this machine: set FLOODGATE_OPS_TOKEN to open it")
        await _answer(send, 404)


def is_engine_path(scope: Message) -> bool:
    """Tell whether a path is under `/-/`, also where the server has put its root path before it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.startswith(PREFIX) or (root != "" and path.startswith(root + PREFIX))


def _is_browser(scope: Message) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


async def _answer(send: Send, status: int, *headers: tuple[bytes, bytes], body: bytes = b"") -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})

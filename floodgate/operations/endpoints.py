"""Everything under `/-/`: live and ready for anyone, the operators' pages for whom the gate opens.

With a token: its bearer, or a person who has signed in with it. Without: only who
asks this machine from itself, and nobody through a proxy. A bare ASGI application
around the pages, so that no router decides what is guarded. Must not know the pages.
"""

from __future__ import annotations

import html
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from pydantic import SecretStr

from floodgate.operations.auth import COOKIE, SESSION_S, Headers, OpsAuth

log = logging.getLogger("floodgate")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PREFIX = "/-/"
LIVE, READY = "live", "ready"
SIGN_IN = "sign-in"
FIRST = "metrics"
"""Where a sign-in leads that did not begin with a page."""
MOST_FORM_BYTES = 4096
POLICY_VIOLATION = 1008

_SAFE_NEXT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9/_.-]{0,200}")
_OWN_HOST = re.compile(r"(?:(?:[a-z0-9_-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?", re.IGNORECASE)
_FORWARDING = {
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-original-host",
    b"client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"fastly-client-ip",
}
"""Beside all that begin with x-forwarded: one of them means that the peer is a proxy, and not who asks."""
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
]
_FORM = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Operators</title>
<form method="post" action="{action}">
<h1>Operators</h1>
<p>{text}</p>
<input type="hidden" name="next" value="{next}">
<label>FLOODGATE_OPS_TOKEN
<input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Sign in</button>
</form>
"""


class Pages:
    """The pages by their path below `/-/`, each an ASGI application."""

    def __init__(self, pages: Mapping[str, App]) -> None:
        self._pages = pages

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        place = _place(scope)
        page = self._pages.get(place[1]) if place is not None else None
        if page is None or scope["type"] != "http":
            await _refuse(scope, receive, send, 404, b"")
        else:
            await page(scope, receive, send)


class OpsEndpoints:
    """Lets through to `pages` whom `token`, or its absence, allows. Closed by default."""

    def __init__(self, pages: App, token: SecretStr | None, is_ready: Callable[[], bool]) -> None:
        self._pages = pages
        self._keyring = OpsAuth(token)
        self._is_ready = is_ready
        self._said = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        place = _place(scope)
        if place is None:
            await _refuse(scope, receive, send, 404, b"")
        elif place[1] in (LIVE, READY) and scope["type"] == "http":
            await _say_status(scope, send, place[1] == LIVE or self._is_ready())
        elif not self._keyring.exists:
            if is_local_request(scope):
                await self._pages(scope, receive, send)
            else:
                self._say_closed()
                await _refuse(scope, receive, send, 404, b"")
        elif place[1] == SIGN_IN and scope["type"] == "http":
            await self._sign_in(place[0], scope, receive, send)
        elif self._keyring.opens(scope["headers"]):
            await self._pages(scope, receive, send)
        elif scope["type"] == "http" and _is_person(scope["headers"]):
            await _show_form(send, *place, "This page is for operators.")
        else:
            text = b"The operators' token is needed, as Authorization: Bearer.\n"
            await _refuse(scope, receive, send, 401, text)

    def _say_closed(self) -> None:
        if not self._said:
            self._said = True
            log.warning("the pages under /-/ are closed to all but this machine: set FLOODGATE_OPS_TOKEN to open them")

    async def _sign_in(self, base: str, scope: Message, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _show_form(send, base, FIRST, "This is for operators.", 200)
            return
        form = await _form(receive)
        if form is None:
            await _answer(send, 413, [], b"")
            return
        page = form.get("next", "")
        if not self._keyring.fits(form.get("token", "").encode()):
            await _show_form(send, base, page, "That is not the token.")
            return
        cookie = f"{COOKIE}={self._keyring.session()}; Path={base}; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict"
        if scope.get("scheme") == "https":
            cookie += "; Secure"
        to = page if _SAFE_NEXT.fullmatch(page) and ".." not in page else FIRST
        await _answer(send, 303, [(b"location", (base + to).encode()), (b"set-cookie", cookie.encode())], b"")


def is_engine_path(scope: Message) -> bool:
    """Tell whether a path is for the gate, also where the server has put its root path before it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.startswith(PREFIX) or (root != "" and path.startswith(root + PREFIX))


def is_local_request(scope: Message) -> bool:
    """Tell whether a request comes from this machine itself, by no proxy and no page of another site.

    A name of this machine as the host keeps out a site that has its name resolved
    to 127.0.0.1 (DNS rebinding).
    """
    if not (_is_loopback(scope.get("client")) and _is_loopback(scope.get("server"))):
        return False
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
    if not hosts or not all(map(_OWN_HOST.fullmatch, hosts)):
        return False
    for name, value in scope["headers"]:
        plain = name.lower().replace(b"_", b"-")
        if plain in _FORWARDING or plain.startswith(b"x-forwarded"):
            return False
        if plain == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            return False
    return True


def _is_loopback(address: Any) -> bool:
    if not address:
        return False
    try:
        found = ipaddress.ip_address(address[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (found if mapped is None else mapped).is_loopback


def _place(scope: Message) -> tuple[str, str] | None:
    """Return what a path begins with, up to `/-/`, and the page below; None for a path that is no page's."""
    before, found, page = scope["path"].partition(PREFIX)
    return (before + PREFIX, page) if found and before in ("", scope.get("root_path", "")) else None


def _is_person(headers: Headers) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


async def _form(receive: Receive) -> dict[str, str] | None:
    """Return the fields of a form, the first of each name; None when it is too large or its sender left."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if message["type"] != "http.request" or len(body) > MOST_FORM_BYTES:
            return None
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


async def _show_form(send: Send, base: str, page: str, text: str, status: int = 401) -> None:
    shown = _FORM.format(action=html.escape(base + SIGN_IN), text=text, next=html.escape(page))
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="operators"'))
    await _answer(send, status, headers, shown.encode())


async def _say_status(scope: Message, send: Send, is_well: bool) -> None:
    if scope["method"] in ("GET", "HEAD"):
        await _answer(send, 200 if is_well else 503, [], b"")
    else:
        await _answer(send, 405, [(b"allow", b"GET, HEAD")], b"")


async def _refuse(scope: Message, receive: Receive, send: Send, status: int, text: bytes) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="operators"'))
    await _answer(send, status, headers, text)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})

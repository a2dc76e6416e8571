"""Who may see the operators' pages: whoever has the token, or, where none is set, whoever asks from this machine.

Must not know the pages, nor what a refusal looks like.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import MutableMapping
from typing import Any

from pydantic import SecretStr

_OWN_HOST = re.compile(r"(?:(?:[a-z0-9_-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?", re.IGNORECASE)
_PROXY_HEADERS = {
    *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-envoy-external-address"),
    *(b"x-original-host", b"client-ip", b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip"),
}
"""Beside all that begin with x-forwarded: with one of them the peer is a proxy, and the client may be anybody."""


class OpsAuth:
    """Tells who may see the pages; `has_token` tells whether the operators have set one."""

    def __init__(self, token: SecretStr | None) -> None:
        secret = b"" if token is None else token.get_secret_value().encode()
        self.has_token = bool(secret)
        self._digest = _digest(secret)

    def allows(self, scope: MutableMapping[str, Any]) -> bool:
        """Tell whether a request has the token: as a bearer, or as the password of HTTP Basic with any user name."""
        if not self.has_token:
            return is_local_request(scope)
        # Digests have one length, and are compared in constant time: how long it takes tells nothing of the token.
        return any(
            hmac.compare_digest(_digest(_credentials(value)), self._digest)
            for name, value in scope["headers"]
            if name == b"authorization"
        )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _credentials(value: bytes) -> bytes:
    scheme, _, given = value.partition(b" ")
    if scheme.lower() == b"bearer":
        return given.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
        except ValueError:
            pass
    return b""


def is_local_request(scope: MutableMapping[str, Any]) -> bool:
    """Tell whether a request comes from this machine, not through a proxy and not from a page of another site.

    The host must be a name of this machine: another site may have its own name resolve
    to 127.0.0.1 (DNS rebinding), and would be read by its page in a local browser.
    """
    if not (_is_loopback(scope.get("client")) and _is_loopback(scope.get("server"))):
        return False
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
    if not hosts or not all(map(_OWN_HOST.fullmatch, hosts)):
        return False
    for name, value in scope["headers"]:
        plain = name.lower().replace(b"_", b"-")
        if plain in _PROXY_HEADERS or plain.startswith(b"x-forwarded"):
            return False
        if plain == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            return False
    return True


def _is_loopback(address: Any) -> bool:
    try:
        found = ipaddress.ip_address(address[0])
    except (TypeError, ValueError):
        return False  # none, or the path of a socket
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback

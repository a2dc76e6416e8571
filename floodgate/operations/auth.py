"""The operators' token and the sessions that it opens. Pure, but for the clock that is handed in.

A session is a text that only who has the token can make, so every process knows
every session, and another token ends them all. Must not know HTTP's grammar beyond
its two headers.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable

from pydantic import SecretStr

COOKIE = "floodgate_operator"
SESSION_S = 12 * 3600
_PURPOSE = b"floodgate operator session 1 "

Headers = Iterable[tuple[bytes, bytes]]


class OpsAuth:
    """Compares in constant time; `exists` tells whether there is a token at all."""

    def __init__(self, token: SecretStr | None, clock: Callable[[], float] = time.time) -> None:
        self._token = token.get_secret_value().encode() if token is not None else b""
        self._digest = hashlib.sha256(self._token).digest()
        self._clock = clock

    @property
    def exists(self) -> bool:
        return bool(self._token)

    def fits(self, offered: bytes) -> bool:
        """Tell whether this is the token; of equal digests, so that the time tells not even its length."""
        return self.exists and hmac.compare_digest(hashlib.sha256(offered).digest(), self._digest)

    def opens(self, headers: Headers) -> bool:
        """Tell whether a request has the token as a bearer, or a session as a cookie."""
        for name, value in headers:
            if name == b"authorization":
                scheme, _, credentials = value.partition(b" ")
                if scheme.lower() == b"bearer" and self.fits(credentials.strip()):
                    return True
            elif name == b"cookie" and any(self._is_session(found) for found in _sessions_in(value)):
                return True
        return False

    def session(self) -> str:
        """Return a new session; it lasts `SESSION_S`."""
        ends_s = int(self._clock()) + SESSION_S
        return f"{ends_s}.{self._mark(b'%d' % ends_s)}"

    def _is_session(self, offered: bytes) -> bool:
        ends_s, _, mark = offered.partition(b".")
        if not (self.exists and ends_s.isdigit() and len(ends_s) <= 12):
            return False
        return hmac.compare_digest(self._mark(ends_s).encode(), mark) and self._clock() < int(ends_s)

    def _mark(self, ends_s: bytes) -> str:
        return hmac.digest(self._token, _PURPOSE + ends_s, "sha256").hex()


def _sessions_in(cookies: bytes) -> Iterable[bytes]:
    for part in cookies.split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == COOKIE.encode():
            yield value

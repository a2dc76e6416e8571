"""What a handler returns when its answer needs a status or headers of its own.

Owns the checks of both: a line break in a header's value would let a client write
the rest of the response. Must not know web frameworks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from floodgate.broker.envelopes import RESERVED_HEADERS

Body = TypeVar("Body")

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")


class Reply(Generic[Body]):
    """A result with its own status and headers; annotate `-> Reply[Receipt]`.

    `body` is serialized by the annotation like any result; `bytes` are sent as they
    are. `status` is 200–599; without one, the route's. `headers` is a mapping, or
    pairs where a name comes twice; `content-type` replaces the route's.

    Raises `ValueError` for a status or header that HTTP does not allow (RFC 9110),
    and for headers that belong to the server.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: Body,
        status: int | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        self.body = body
        self.status = None if status is None else checked_status(status)
        self.headers = checked_headers(headers)


def checked_status(status: object) -> int:
    """Return a final status as HTTP knows it (RFC 9110, 15); raises `ValueError`."""
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"a status is a whole number from 200 to 599, not {status!r}")
    return int(status)  # an `HTTPStatus` is one


def checked_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers as HTTP sends them: lower-case names, latin-1; raises `ValueError`."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked = []
    for name, value in pairs:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"not a header that HTTP allows: {name!r}")
        if name.lower().encode("ascii") in RESERVED_HEADERS:
            raise ValueError(f"the header {name!r} is set by the server; leave it out")
        checked.append((name.lower().encode("ascii"), value.encode("latin-1")))
    return tuple(checked)

"""What `idempotency=` takes, and its one checked form.

Owns the window and the rules of the declaration. Must not know headers or Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY_S = 24 * 3600
MOST_WINDOW_S = 7 * DAY_S


@dataclass(frozen=True, slots=True)
class Idempotency:
    """How a route treats the header `Idempotency-Key`.

    The answer is kept for `window_s`. `public`: whose caller is unknown may use the header, too, and shares its keys
    with all such. `required`: a request without the header is refused. `retry_lost`: where a worker was lost or the
    deadline passed, the next request with the key runs again.
    """

    window_s: int = DAY_S
    public: bool = False
    required: bool = False
    retry_lost: bool = False


IdempotencyOf = bool | int | Literal["public"] | Idempotency | None
"""True: for a day; a number: for so many seconds."""


def checked(asked: object) -> Idempotency | None:
    """Return what is declared in its one form; raises `ValueError` with the repair."""
    if asked is None or asked is False:
        return None
    if asked is True or asked == "public":
        return Idempotency(public=asked == "public")
    found = Idempotency(window_s=asked) if isinstance(asked, int) else asked
    if not isinstance(found, Idempotency):
        raise ValueError(
            f'idempotency is {asked!r}; write True, a number of seconds, "public", or Idempotency(window_s=3600, …)'
        )
    window_s = found.window_s
    if not isinstance(window_s, int) or isinstance(window_s, bool) or not 1 <= window_s <= MOST_WINDOW_S:
        raise ValueError(f"the window of idempotency is {window_s!r}; it must be whole seconds, 1 to {MOST_WINDOW_S}")
    if not all(isinstance(flag, bool) for flag in (found.public, found.required, found.retry_lost)):
        raise ValueError("public, required and retry_lost of Idempotency are True or False")
    return found

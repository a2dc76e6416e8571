"""What `REDIS_URL` may say: one server, or the Sentinels that know it.

`redis+sentinel://user:password@host:port,host:port/name/db` names Sentinels and the
primary that they watch; `rediss+sentinel://` speaks TLS to both. redis-py has no such
address. Must not connect, and no text of an error holds an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

QUERY = frozenset({"client_name", "db", "password", "username"})
"""What the query may say. All else, such as `protocol`, would win over what the engine is built on."""
TLS_QUERY = frozenset(
    f"ssl_{name}" for name in ("ca_certs", "ca_path", "certfile", "cert_reqs", "check_hostname", "keyfile", "password")
)
"""And with `rediss://`."""
SENTINEL_QUERY = frozenset({"sentinel_username", "sentinel_password"})
"""And with Sentinels, whose own accounts are not those of the server."""
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """Sentinels, and what they are asked for; `server_url` has everything but the address of the primary."""

    sentinels: tuple[tuple[str, int], ...]
    name: str
    server_url: str
    username: str | None
    password: str | None


def is_sentinel(url: str) -> bool:
    """Tell whether an address names Sentinels."""
    return url.partition("://")[0] in SENTINEL_SCHEMES


def check(url: str) -> None:
    """Raise `ValueError`, with the repair, for an address that no client could use."""
    try:
        scheme = sentinel_url(url).server_url.partition("://")[0] if is_sentinel(url) else _plain_scheme(url)
    except ValueError:
        scheme = ""
    if scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(
            "write redis://, rediss:// or unix:// and a host or path, e.g. redis://127.0.0.1:6379/0, or "
            "redis+sentinel://host:26379,host:26379/name/0"
        )
    given = parse_qs(urlsplit(url).query, keep_blank_values=True)
    allowed = QUERY | (TLS_QUERY if scheme == "rediss" else set()) | (SENTINEL_QUERY if is_sentinel(url) else set())
    # A name that is no plain word may be a part of a password.
    foreign = {name if name.isidentifier() else "what stands there" for name in given.keys() - allowed}
    if foreign:
        raise ValueError(
            f"take {', '.join(sorted(foreign))} out of its query, which may have {', '.join(sorted(allowed))}"
        )
    if not all(number.isdecimal() for number in given.get("db", ())):
        raise ValueError("db in its query is no number")


def sentinel_url(url: str) -> SentinelUrl:
    """Read an address of Sentinels; raises `ValueError` where it names no host, no primary, or a port that is none."""
    scheme, _, rest = url.partition("://")
    parts = urlsplit(f"{scheme.removesuffix('+sentinel')}://{rest}")
    account, at, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.strip("/").partition("/")
    if not name or (not db.isdecimal() and db):
        raise ValueError("no name of a primary, or a database that is no number")
    query = parse_qs(parts.query)
    ours = {key: query.pop(key)[0] for key in SENTINEL_QUERY & query.keys()}
    rest_of_query = "&".join(part for part in parts.query.split("&") if part.partition("=")[0] not in SENTINEL_QUERY)
    return SentinelUrl(
        tuple(_host_and_port(host) for host in hosts.split(",")),
        unquote(name),
        # The host is asked for at every connect; this one is never used.
        f"{parts.scheme}://{account}{at}primary/{db or 0}{'?' if rest_of_query else ''}{rest_of_query}",
        ours.get("sentinel_username"),
        ours.get("sentinel_password"),
    )


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a host")
    return parts.hostname, SENTINEL_PORT if parts.port is None else parts.port


def _plain_scheme(url: str) -> str:
    parts = urlsplit(url)
    _ = parts.port  # raises when it is no number
    return parts.scheme

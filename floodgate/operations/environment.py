"""Which variables of the environment are settings, which are Kubernetes', and which have another name now.

Must not know the settings themselves, and needs the standard library alone: `make up` asks here too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from floodgate.errors import ConfigurationError

PREFIX = "FLOODGATE_"
BARE = ("redis_url", "web_concurrency")
"""What hosting services set, and gunicorn reads, under these names."""
RENAMED = {"WORKER_CONCURRENCY": "WORKER_PLACES", "SHUTDOWN_DELAY_S": "UNREADY_S", "RATE_BURST": "RATE_BUCKET"}
"""Names that changed beyond the prefix, to their old ones."""
LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT_\d+_")
ADDRESS = re.compile(r"(tcp|udp|sctp)://")
"""The value that Kubernetes gives `FLOODGATE_GATEWAY_PORT` in every pod beside a Service `floodgate-gateway`."""


def variable(field: str) -> str:
    """Return the variable that sets a field."""
    return field.upper() if field in BARE else PREFIX + field.upper()


def given(environ: Mapping[str, str], fields: Iterable[str]) -> dict[str, str]:
    """Return the fields that the environment sets; raises `ConfigurationError` for a name that is no setting."""
    known = {variable(field): field for field in (*fields, *BARE)}
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not _is_link(name, environ[name]):
            raise ConfigurationError(f"{name} is no setting; the nearest is {_nearest(name, list(known.values()))}")
    return {
        field: environ[name]
        for name, field in known.items()
        if name in environ and field in fields and not _is_link(name, environ[name])
    }


def notes(environ: Mapping[str, str], fields: Iterable[str]) -> Iterator[str]:
    """Yield a line about the variables that Kubernetes made, and one about each that is set under its old name."""
    if links := sorted(name for name in environ if name.startswith(PREFIX) and _is_link(name, environ[name])):
        yield f"ignored, since they describe a Service of Kubernetes: {', '.join(links)}"
    for field in fields:
        new = variable(field)
        for name in {field.upper(), RENAMED.get(field.upper(), field.upper())} - {new}:
            if name in environ and new not in environ and not ADDRESS.match(environ[name]):
                yield f"{name} is not read: the name of the setting is {new}"


def _is_link(name: str, value: str) -> bool:
    return LINK.search(name) is not None or ADDRESS.match(value) is not None


def _nearest(name: str, fields: list[str]) -> str:
    bare = name.removeprefix(PREFIX).lower()
    renamed = [field.lower() for field, old in RENAMED.items() if old == bare.upper()]
    return variable(*(renamed or difflib.get_close_matches(bare, fields, n=1, cutoff=0)))

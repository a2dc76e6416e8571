"""Asking a system over HTTP until it answers, with the standard library alone: what `make dev` and `make up` wait for.

Must not know how the system is run.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

EDIT = "shared/handlers/demo.py"
HOST = "127.0.0.1"
ASK_S = 5.0
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Past `http_proxy`: what is asked runs on this machine, where a proxy cannot reach it."""


def answer(url: str) -> bytes | None:
    """Return the body of a successful answer, or None."""
    try:
        with DIRECTLY.open(url, timeout=ASK_S) as response:
            return bytes(response.read())
    except (urllib.error.URLError, OSError):
        return None


def askable(openapi: bytes) -> str | None:
    """Return the first path that GET answers without any parameter."""
    for path, methods in json.loads(openapi).get("paths", {}).items():
        get = methods.get("get")
        if get is not None and not any(parameter.get("required") for parameter in get.get("parameters", [])):
            return str(path)
    return None


def editable(handlers: str) -> str:
    """Return where the handlers of a package are written: the example, while it is there."""
    return EDIT if Path(EDIT).exists() else handlers.replace(".", "/")


def taken(port: int, host: str = HOST) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False

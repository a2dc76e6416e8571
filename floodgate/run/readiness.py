"""Asks a system over HTTP until it answers, and says where everything is, for `make dev` and `make up`.

Needs the standard library alone. Must not know how the system is run.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

EXAMPLE = "shared/handlers/demo.py"
HOST = "127.0.0.1"
ASK_S = 5.0
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Past `http_proxy`: what is asked runs on this machine, where a proxy cannot reach it."""


def get(url: str) -> tuple[int, bytes]:
    """Return status and body of an answer; 0 and nothing while nobody answers."""
    try:
        with DIRECTLY.open(url, timeout=ASK_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except OSError:
        return 0, b""


def first_path(openapi: bytes) -> str | None:
    """Return the first path that GET answers without any parameter."""
    for path, methods in json.loads(openapi).get("paths", {}).items():
        method = methods.get("get")
        if method is not None and not any(parameter.get("required") for parameter in method.get("parameters", [])):
            return str(path)
    return None


def announce(say: Callable[[str], None], port: int, path: str | None, handlers: str, then: str = "") -> None:
    """Say where the documentation is, what to try first and what to edit."""
    url = f"http://{HOST}:{port}"
    say("ready")
    say(f"  docs: {url}/docs")
    if path is not None:
        say(f"  try:  curl {url}{path}")
    say(f"  edit: {EXAMPLE if Path(EXAMPLE).exists() else handlers.replace('.', '/')}{then}")


def taken(variable: str, port: int, command: str) -> str | None:
    """Return what to say where somebody listens on a port of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return f"port {port} is taken: choose another with {variable}, e.g. {variable}={port + 100} {command}"
    return None

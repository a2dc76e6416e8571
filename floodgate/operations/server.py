"""How gunicorn runs either app, with a drain that begins at the signal.

Owns the worker class, the master's logger and the settings that both apps share. Of an
app it knows three optional attributes: `begin_drain()`, `shutdown_delay_s` and `collects_by_time`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from floodgate.operations import logs, scratch
from floodgate.operations.heads import BoundedHeads, cut_slow_heads
from floodgate.operations.settings import Settings

MASTER_STARTED = "MASTER_STARTED"
"""Environment variable: the master's own monotonic clock, in seconds, when it read its configuration."""

METRICS_DIR = "FLOODGATE_METRICS_DIR"
"""Environment variable: where the processes of one master share their metrics."""

CUT_MARGIN_S = 2
"""Between uvicorn's end of open responses and gunicorn's SIGKILL: time for the lifespan's shutdown."""
GC_PERIOD_S = 1.0
GC_SHARE = 0.005
"""The most time that full collections take of an app that `collects_by_time`: less than a p99 shows."""
GC_YOUNG = (5000, 20, 1_000_000)
"""Thresholds of such an app: with Python's 700 and 10 a burst of 200 requests is in the oldest generation at once."""
WATCHDOG_S = 30
"""Gunicorn kills a worker process whose event loop was blocked for this long."""
HEADS_PERIOD_S = 5.0
"""Between two looks for heads that take too long."""
BEAT_S = 1.0
"""Between two notifications of the watchdog, and two checks that the master lives."""
KEEP_ALIVE_S = 75
"""Longer than a balancer keeps an idle connection: so the balancer closes it, and sends nothing into a closing one."""


class DrainingServer(Server):
    """Uvicorn's server, with a drain that begins at the signal and not after the last response.

    For `shutdown_delay_s` after the signal it still takes connections: a balancer sends some
    until its checks have found the app not ready, and a request that meets a closed port
    may be lost.
    """

    def __init__(self, config: Config, begin_drain: Callable[[], None], shutdown_delay_s: float) -> None:
        super().__init__(config)
        self._begin_drain = begin_drain
        self._shutdown_delay_s = shutdown_delay_s
        self._leaving = False
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain; end at once at a SIGINT that is not the first signal.

        A Ctrl-C reaches a worker twice, from the terminal and as SIGQUIT from the
        master; a SIGTERM to the process group also comes twice. Those do not count.
        Unlike uvicorn's method it does not keep the signal: the process would die of it
        after a clean end.
        """
        if not self._leaving:
            self._leaving = True
            # Signal handlers run between any two bytecodes, and do not wake the loop by themselves.
            self._loop.call_soon_threadsafe(self._leave)
        elif sig == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)

    def _leave(self) -> None:
        self._begin_drain()
        self._loop.call_later(self._shutdown_delay_s, self._close)

    def _close(self) -> None:
        self.should_exit = True


class DrainingWorker(UvicornWorker):  # type: ignore[misc]
    """The worker class of gunicorn for both apps."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": BoundedHeads}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        logging.getLogger("uvicorn.error").propagate = True

    def run(self) -> None:
        """Serve until drained; gunicorn calls this after the fork."""
        _lift_file_limit()
        gc.collect()
        gc.freeze()  # what is loaded by now stays until the end: full collections need not walk it
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self._serve_until_drained())

    async def _serve_until_drained(self) -> None:
        self.config.app = self.wsgi
        shutdown_delay_s = getattr(self.wsgi, "shutdown_delay_s", 0.0)
        # uvicorn-worker leaves it unset; then gunicorn kills the process before the lifespan's shutdown has run.
        self.config.timeout_graceful_shutdown = max(1, int(self.cfg.graceful_timeout - shutdown_delay_s - CUT_MARGIN_S))
        server = DrainingServer(self.config, getattr(self.wsgi, "begin_drain", lambda: None), shutdown_delay_s)
        signal.signal(signal.SIGQUIT, server.handle_exit)
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(self._beat(server)), group.create_task(_cut_slow_heads(server))]
            if getattr(self.wsgi, "collects_by_time", False):
                loops.append(group.create_task(_collect_by_time()))
            await server.serve(sockets=self.sockets)
            for loop in loops:
                loop.cancel()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    async def _beat(self, server: DrainingServer) -> None:
        # Uvicorn stops notifying the watchdog when it shuts down; a worker with a long drain would be killed.
        while True:
            self.notify()
            if os.getppid() != self.ppid:  # the master was killed: nobody would stop or replace this process
                server.handle_exit(signal.SIGTERM, None)
            await asyncio.sleep(BEAT_S)


class MasterLogger(Logger):  # type: ignore[misc]
    """Writes gunicorn's own lines in the form of all others."""

    def setup(self, cfg: GunicornConfig) -> None:
        logs.configure()
        super().setup(cfg)
        self.error_log.propagate = True


def configuration(app: str, port: int, settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings for `app`; the number of processes is `WEB_CONCURRENCY`."""
    return {
        "wsgi_app": app,
        "bind": f"0.0.0.0:{port}",
        "worker_class": "floodgate.operations.server.DrainingWorker",
        "logger_class": "floodgate.operations.server.MasterLogger",
        "errorlog": None,
        "graceful_timeout": settings.graceful_timeout_s,
        "timeout": WATCHDOG_S,
        "keepalive": KEEP_ALIVE_S,
        "worker_tmp_dir": str(scratch.MEMORY) if scratch.MEMORY.is_dir() else None,
        "control_socket_disable": True,
        "raw_env": [
            f"{MASTER_STARTED}={time.monotonic()}",
            f"{METRICS_DIR}={settings.metrics_dir or _metrics_directory()}",
        ],
        "on_exit": _remove_metrics_directory,
    }


@functools.cache
def _metrics_directory() -> Path:
    """Return a directory for this master; the same one after a reload, which reads the configuration again."""
    return scratch.make()


def _remove_metrics_directory(arbiter: Arbiter) -> None:
    if _metrics_directory.cache_info().currsize:
        shutil.rmtree(_metrics_directory(), ignore_errors=True)


async def _cut_slow_heads(server: Server) -> None:
    while True:
        await asyncio.sleep(HEADS_PERIOD_S)
        await cut_slow_heads(server.server_state.connections)


async def _collect_by_time() -> None:
    """Run the full garbage collections by the clock, and not by the number of new objects.

    With 10,000 requests waiting, Python's own rule spent a third of the time walking
    them. They cannot be left out: what a request holds is in the oldest generation
    when it ends, so cycles that a user's middleware makes would never be freed.
    """
    gc.set_threshold(*GC_YOUNG)
    took_s = 0.0
    while True:
        await asyncio.sleep(max(GC_PERIOD_S, took_s / GC_SHARE))
        began_s = time.thread_time()  # processor time: other processes make collections no rarer
        gc.collect()
        took_s = time.thread_time() - began_s


def _lift_file_limit() -> None:
    """Raise the limit of open files as far as allowed: a waiting request is a connection, and 1,024 is common."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

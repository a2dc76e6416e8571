"""The embedded server: where it listens, and that nothing outlives what started it."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from floodgate.run.embedded_server import EmbeddedServer, ServerFailed
from tests.engine.system.system import until

ROOT = Path(__file__).parents[3]


def test_a_server_answers_under_its_url_and_ends_with_its_data() -> None:
    with EmbeddedServer() as server:
        assert server.command("PING") == b"+PONG\r\n"
        directory = Path(psutil.Process(server.pid).cwd())
        pid = server.pid
    assert not server.alive
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


def test_it_listens_on_a_unix_socket_alone_when_asked_to() -> None:
    with EmbeddedServer(unix=True) as server:
        assert server.url.startswith("unix:///")
        assert server.command("PING") == b"+PONG\r\n"
        assert server.port == 0


def test_where_the_usual_place_has_too_long_a_path_for_a_socket_another_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedServer(unix=True) as server:
        assert server.command("PING") == b"+PONG\r\n"
        assert stat.S_IMODE(Path(server.url.removeprefix("unix://")).parent.stat().st_mode) == 0o700
    assert list(deep.iterdir()) == []


def test_a_killed_server_comes_back_on_the_same_address_with_nothing_in_it() -> None:
    with EmbeddedServer() as server:
        url = server.url
        server.command("SET", "a", "b")
        server.kill()
        assert not server.alive
        server.start()
        assert server.url == url
        assert server.command("GET", "a") == b"$-1\r\n"


def test_a_frozen_server_keeps_its_connections_and_answers_when_thawed() -> None:
    with EmbeddedServer() as server:
        server.freeze()
        with pytest.raises(TimeoutError):
            server.command("PING")
        server.thaw()
        until(lambda: server.command("PING") == b"+PONG\r\n")


def test_a_frozen_server_can_be_stopped() -> None:
    server = EmbeddedServer().start()
    pid = server.pid
    server.freeze()
    server.stop()
    assert not psutil.pid_exists(pid)


def test_in_cluster_mode_one_node_owns_all_slots_after_a_restart_too() -> None:
    with EmbeddedServer(cluster=True) as server:
        assert server.command("SET", "a", "b") == b"+OK\r\n"
        server.kill()
        server.start()
        assert server.command("SET", "a", "b") == b"+OK\r\n"


def test_arguments_reach_the_server() -> None:
    with EmbeddedServer(args=("--maxmemory", "3mb")) as server:
        assert b"3145728" in server.command("CONFIG", "GET", "maxmemory")


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ServerFailed, match=re.escape('nonsense "1"')):
        EmbeddedServer(args=("--nonsense", "1")).start()


def test_it_is_in_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it() -> None:
    with EmbeddedServer() as server:
        assert os.getsid(server.pid) == server.pid


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by-itself"])
def test_it_never_outlives_the_process_that_started_it(ending: signal.Signals | None, tmp_path: Path) -> None:
    if ending is not None and sys.platform != "linux":
        return  # elsewhere `atexit` alone ends it
    program = (
        "from floodgate.run.embedded_server import EmbeddedServer\n"
        "server = EmbeddedServer().start()\nprint(server.pid, flush=True)\ninput()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout
    pid = int(owner.stdout.readline())
    if ending is None:
        owner.communicate("\n")
    else:
        owner.send_signal(ending)
        owner.communicate()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.redis_server
def test_debians_redis_server_serves_as_well() -> None:
    with EmbeddedServer(binary=Path("/usr/bin/redis-server"), cluster=True) as server:
        assert b"redis_version:" in server.command("INFO", "server")

"""`make dev` as a user sees it: start, edit, mistake, end. Runs on a copy with a handler of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from floodgate.run.dev import dev
from tests.engine.scraping import scrape
from tests.engine.system.system import free_port, run_module

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[3]
START_S = 50
RELOAD_S = 50
END_S = 30
GREETING = """
from shared import queued

@queued("/greeting", max_concurrency=10)
async def greeting() -> str:
    return "{word}"
"""


@dataclass(frozen=True, slots=True)
class System:
    """A running development system and the copy it runs from."""

    process: subprocess.Popen[bytes]
    root: Path
    port: int
    port_of_worker: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return (self.root / "output").read_text()

    @property
    def handler(self) -> Path:
        return self.root / "shared/handlers/greeting.py"

    def answer(self) -> object:
        """Return what the route answers, or None when it does not."""
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{self.url}/greeting", timeout=5)
            if answer.status_code == 200:
                return answer.json()
        return None

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]


def until(met: Callable[[], bool], limit_s: float, system: System) -> None:
    deadline = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < deadline, system.output
        time.sleep(0.05)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The user's wing with one handler, away from the one that is being edited; the engine is that of this checkout."""
    for name in ("shared", "gateway_app", "worker_app"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "floodgate").symlink_to(ROOT / "floodgate")
    (tmp_path / "shared/handlers/demo.py").unlink(missing_ok=True)
    (tmp_path / "shared/handlers/greeting.py").write_text(GREETING.format(word="first"))
    return tmp_path


@contextlib.contextmanager
def running(root: Path, **given: str) -> Iterator[System]:
    """Start the system, kill whatever the test has left of it."""
    gateway, worker = free_port(), free_port()
    ports = {"GATEWAY_PORT": str(gateway), "WORKER_PORT": str(worker)}
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"} | ports
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "floodgate", "dev"],
            cwd=root,
            env=environment | {"TMPDIR": str(root)} | given,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    system = System(process, root, gateway, worker)
    known: list[psutil.Process] = []
    try:
        yield system
        known = system.processes() if process.poll() is None else []
    finally:
        for left in known:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.kill()
        process.wait()


def listening(process: psutil.Process) -> set[int]:
    return {each.laddr.port for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}


def ready(system: System) -> bool:
    assert system.process.poll() is None, system.output
    return "dev     | ready" in system.output


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_an_edit_shows_and_a_mistake_does_not_and_ctrl_c_leaves_nothing_behind(copy: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"  # a proxy in the environment is not asked for what runs here
    with running(copy, http_proxy=nobody, HTTP_PROXY=nobody, no_proxy="") as system:
        until(lambda: ready(system), START_S, system)
        assert f"docs: {system.url}/docs" in system.output
        assert f"try:  curl {system.url}/greeting" in system.output
        assert "edit: shared/handlers" in system.output
        assert system.answer() == "first"
        ports = set().union(*(listening(each) for each in system.processes()))
        assert ports == {system.port, system.port_of_worker}, "Redis has none"
        before = scrape(system.url)
        assert before("processes") == 2

        main = copy / "gateway_app/main.py"
        fine = main.read_text()
        main.write_text(f"{fine}\nimport nowhere_to_be_found\n")
        until(lambda: "nowhere_to_be_found" in system.output, RELOAD_S, system)
        system.handler.write_text(GREETING.format(word="second").replace("async def", "async deff"))
        until(lambda: "SyntaxError" in system.output, RELOAD_S, system)
        assert {system.answer() for _ in range(10)} == {"first"}
        assert "reloading" not in system.output

        main.write_text(fine)
        system.handler.write_text(GREETING.format(word="third"))
        until(lambda: system.answer() == "third", RELOAD_S, system)
        # What processes have counted that are replaced by now is not forgotten.
        after = scrape(system.url)
        assert after("requests_ended_total", outcome="done") > before("requests_ended_total", outcome="done")
        ended_by(signal.SIGINT, system)


@pytest.mark.slow
def test_sigterm_leaves_nothing_behind_either(copy: Path) -> None:
    with running(copy) as system:
        until(lambda: ready(system), START_S, system)
        ended_by(signal.SIGTERM, system)


def ended_by(sig: signal.Signals, system: System) -> None:
    processes, before = system.processes(), system.output
    assert len(processes) >= 2 + 2 * (1 + 2)  # this one, the server, and per app a master and two
    os.killpg(system.process.pid, sig)
    until(lambda: system.process.poll() is not None, END_S, system)
    assert system.process.returncode == 0, system.output
    assert [process for process in processes if not gone(process)] == []
    assert list(system.root.glob("floodgate-*")) == []
    assert "Traceback" not in system.output.removeprefix(before)


def test_a_mistake_at_the_start_is_shown_mending_it_goes_on_and_killed_outright_it_takes_the_apps_along(
    copy: Path,
) -> None:
    (copy / "shared/handlers/greeting.py").write_text("import nowhere_to_be_found\n")
    with running(copy) as system:
        until(lambda: "nowhere_to_be_found" in system.output, START_S, system)
        system.handler.write_text(GREETING.format(word="mended"))
        until(lambda: ready(system), START_S, system)
        assert system.answer() == "mended"
        if sys.platform == "linux":  # elsewhere nobody tells a child
            processes = system.processes()
            system.process.kill()
            system.process.wait()
            until(lambda: all(gone(process) for process in processes), END_S, system)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"GATEWAY_PORT": "80000"}, "FLOODGATE_GATEWAY_PORT: Input should be less than or equal to 65535"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "FLOODGATE_NAMESPACE: name it where REDIS_URL is set"),
        ({"FLOODGATE_WORKER_CONCURRENCY": "many"}, "FLOODGATE_WORKER_CONCURRENCY: Input should be a valid integer"),
        ({"GATEWAY_PORT": "8100", "WORKER_PORT": "8100"}, "GATEWAY_PORT and WORKER_PORT are both 8100"),
        ({"FLOODGATE_DRAN_S": "8"}, "FLOODGATE_DRAN_S is no setting; the nearest is FLOODGATE_DRAIN_S"),
    ],
)
def test_a_setting_that_does_not_fit_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(os, "environ", os.environ | environment)
    assert dev() == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "WORKER_PORT"])
def test_a_taken_port_is_named_with_its_variable_and_there_is_no_traceback(variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"GATEWAY_PORT": str(free_port()), "WORKER_PORT": str(free_port()), variable: str(port)}
        ended = run_module("floodgate", "dev", limit_s=START_S, **ports)
    assert ended.returncode == 1
    assert f"port {port} is taken" in ended.stdout
    assert variable in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr

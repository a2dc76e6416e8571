"""What a signal does to an app under gunicorn: the drain begins at once, and ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.engine.system.system import Gunicorn, free_port, gunicorn, until
from tests.engine.system.toy_app import SLOW_S

DRAIN_S = 3
GC_PERIOD_S = 0.5
KNOTS = 20
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Toy(Gunicorn):
    """Gunicorn around the toy, which notes what it is told."""

    notes: Path

    def noted(self) -> list[str]:
        return self.notes.read_text().split() if self.notes.exists() else []


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    """Gunicorn as both apps configure it, around the toy."""
    with running_toy(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """The same for all tests that do not end it."""
    with running_toy(tmp_path_factory.mktemp("lasting")) as running:
        yield running


@contextlib.contextmanager
def running_toy(tmp_path: Path, shutdown_delay_s: float = 0, **env: str) -> Iterator[Toy]:
    conf, notes, port = tmp_path / "conf.py", tmp_path / "notes", free_port()
    conf.write_text(
        "from floodgate.operations import server\n"
        "from floodgate.operations.settings import Settings\n"
        f"server.GC_PERIOD_S = {GC_PERIOD_S}\n"
        f"settings = Settings(drain_s={DRAIN_S}, shutdown_delay_s={shutdown_delay_s})\n"
        f"globals().update(server.configuration('tests.engine.system.toy_app:build()', {port}, settings))\n"
        f"bind = '127.0.0.1:{port}'\n"
    )
    told = {"TOY_NOTES": str(notes), "TOY_SHUTDOWN_DELAY_S": str(shutdown_delay_s), **env}
    with gunicorn(conf, port, tmp_path / "log", told) as master:
        running = Toy(master.process, master.url, master.log, notes)
        until(lambda: answers(running), 15)
        yield running


def answers(running: Toy) -> bool:
    assert running.process.poll() in (None, 0), running.log.read_text()
    return running.status("/") == 200


@contextlib.contextmanager
def endless(running: Toy) -> Iterator[None]:
    """Have a request under way that is never answered."""
    with socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.2)
        yield


async def ask_and_signal(running: Toy, send: Callable[[], None]) -> tuple[httpx.Response, float]:
    """Signal in the middle of a slow request; return its answer and how long the drain took to begin."""
    async with httpx.AsyncClient() as client, asyncio.TaskGroup() as group:
        answer = group.create_task(client.get(running.url + "/slow"))
        await asyncio.sleep(SLOW_S / 4)
        send()
        begun_s = await asyncio.to_thread(until, lambda: "drain" in running.noted(), 2)
    return answer.result(), begun_s


@pytest.mark.parametrize(
    ("sig", "to_group"),
    [
        pytest.param(signal.SIGTERM, True, id="sigterm-to-the-group", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, id="sigterm-to-the-master"),
        pytest.param(signal.SIGINT, True, id="ctrl-c"),
        pytest.param(signal.SIGINT, False, id="sigint-to-the-master", marks=pytest.mark.slow),
        pytest.param(signal.SIGQUIT, False, id="sigquit-to-the-master", marks=pytest.mark.slow),
    ],
)
async def test_the_drain_begins_at_the_signal_and_the_open_response_completes(
    toy: Toy, sig: int, to_group: bool
) -> None:
    answer, begun_s = await ask_and_signal(toy, lambda: toy.signal(sig) if to_group else toy.process.send_signal(sig))
    ended_s = await asyncio.to_thread(until, lambda: toy.process.poll() is not None, DRAIN_S)

    assert answer.status_code == 200
    assert begun_s < SLOW_S / 2
    assert ended_s < DRAIN_S - 0.5, "it did not wait for its end"
    assert toy.process.returncode == 0
    assert toy.noted() == ["drain", "shutdown"]


def test_a_second_ctrl_c_ends_a_worker_at_once(toy: Toy) -> None:
    with endless(toy):
        toy.signal(signal.SIGINT)
        until(lambda: toy.noted() == ["drain"], 1)
        time.sleep(0.5)
        assert toy.process.poll() is None
        toy.signal(signal.SIGINT)
        assert until(lambda: toy.process.poll() is not None, 2) < 1


def test_the_port_stays_open_for_a_while_and_then_work_has_its_whole_drain_before_it_is_cut(tmp_path: Path) -> None:
    with running_toy(tmp_path, shutdown_delay_s=1) as toy, endless(toy):
        toy.process.terminate()
        until(lambda: toy.noted() == ["drain"], 2)
        open_s = until(lambda: not answers(toy), 3) if answers(toy) else 0
        assert 0.5 < open_s < 2.5
        cut_s = until(lambda: toy.process.poll() is not None, DRAIN_S + 6)
    assert toy.noted() == ["drain", "shutdown"], "what never answers was cut in time for the lifespan"
    assert DRAIN_S - 0.5 < cut_s < DRAIN_S + 5


def test_a_killed_worker_is_replaced_under_the_same_start_of_the_master(lasting: Toy) -> None:
    before = httpx.get(lasting.url).text
    children = Path(f"/proc/{lasting.process.pid}/task/{lasting.process.pid}/children")
    if not children.exists():
        return  # only Linux lists children here
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    time.sleep(0.1)
    until(lambda: answers(lasting), 10)
    assert 0 < float(httpx.get(lasting.url).text) == float(before) <= time.monotonic()


def test_a_worker_whose_master_was_killed_drains_and_ends(toy: Toy) -> None:
    toy.process.kill()
    toy.process.wait()
    until(lambda: toy.noted() == ["drain", "shutdown"], 10)
    with pytest.raises(httpx.ConnectError):
        httpx.get(toy.url)


def test_gunicorns_own_lines_are_json_when_not_on_a_terminal(lasting: Toy) -> None:
    lines = [json.loads(line) for line in lasting.log.read_text().splitlines()]
    assert any(line["event"].startswith("Listening at") for line in lines)
    assert any("Started server process" in line["event"] for line in lines)


def test_an_app_collects_garbage_by_pythons_own_rule(lasting: Toy) -> None:
    _, _, thresholds = httpx.get(lasting.url + "/knots").text.partition(" ")
    own = [sys.executable, "-c", "import gc; print(gc.get_threshold())"]
    assert thresholds == subprocess.check_output(own, text=True).strip()


def test_an_app_that_collects_by_time_keeps_no_old_cycle(tmp_path: Path) -> None:
    def knots() -> int:
        return int(httpx.get(running.url + "/knots").text.split()[0])

    with running_toy(tmp_path, TOY_COLLECTS_BY_TIME="1") as running:
        began = time.monotonic()
        for _ in range(KNOTS):
            httpx.get(running.url + "/knot")
        assert knots() == KNOTS or time.monotonic() - began > GC_PERIOD_S, "the young generations do not free them"
        until(lambda: knots() == 0, 10 * GC_PERIOD_S)

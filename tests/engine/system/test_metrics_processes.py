"""Two gateway processes behind one port, as gunicorn runs them: one sum, whichever is asked, whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.engine.scraping import scrape
from tests.engine.system.system import (
    EDGE_HANDLERS,
    Gunicorn,
    System,
    await_ready,
    free_port,
    gunicorn,
    until,
    until_async,
)

START_S = 15.0
LOST_S = 2.0
"""Before a kill: a snapshot is written once a second, later on a machine that is busy."""
TOKEN = "a-token-of-sixteen-or-more"


@contextlib.contextmanager
def running(own: System, directory: Path, **env: str) -> Iterator[Gunicorn]:
    """Run a gateway of two processes; it listens on every address, as in a container."""
    port = free_port()
    given = {
        **own.env,
        "FLOODGATE_HANDLERS": EDGE_HANDLERS,
        "FLOODGATE_GATEWAY_PORT": str(port),
        "WEB_CONCURRENCY": "2",
    }
    with gunicorn("gateway_app/gunicorn_conf.py", port, directory / "gunicorn.log", {**given, **env}) as gateway:
        until(lambda: gateway.alive and gateway.ready, START_S)
        yield gateway


def metrics_directory(gateway: Gunicorn) -> Path:
    """Return where its processes share their metrics."""
    files = [Path(file.path) for file in psutil.Process(gateway.children()[0]).open_files()]
    return next(file.parent.parent for file in files if file.suffix == ".lock")


def foreign_address() -> str | None:
    """Return an address of this machine that is not its loopback; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


@pytest.mark.slow
def test_one_sum_over_both_processes_also_right_after_one_of_them_is_killed(own: System, tmp_path: Path) -> None:
    own.worker(wait=False)
    with running(own, tmp_path) as gateway:
        await_ready(own.apps[0])
        until(lambda: scrape(gateway.url)("processes_ready") == 2)
        assert [gateway.status("/ok") for _ in range(40)] == [200] * 40
        until(lambda: scrape(gateway.url)("requests_ended_total", outcome="done") == 40)  # shared once a second
        assert {scrape(gateway.url)("requests_ended_total", outcome="done") for _ in range(6)} == {40}
        for _ in range(2):
            os.kill(gateway.children()[0], signal.SIGKILL)
            until(lambda: gateway.status("/-/live") == 200)
            assert scrape(gateway.url)("requests_ended_total", outcome="done") == 40
        until(lambda: scrape(gateway.url)("processes_ready") == 2)
        assert scrape(gateway.url)("requests_open") == 0
        directory = metrics_directory(gateway)
        assert len([*directory.glob("gateway/*.snapshot.json")]) == 2
        gateway.process.terminate()
        assert gateway.process.wait(10) == 0
        assert not directory.exists()


@pytest.mark.slow
async def test_no_count_shrinks_and_only_the_last_second_is_lost_while_processes_are_killed_under_load(
    own: System, tmp_path: Path
) -> None:
    own.worker(wait=False)
    with running(own, tmp_path) as gateway:
        await_ready(own.apps[0])
        seen: list[float] = []
        answered_s: list[float] = []
        killed_s: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                with contextlib.suppress(httpx.TransportError):  # the one that was asked is killed
                    seen.append(scrape(gateway.url)("requests_offered_total"))

        async def ask(client: httpx.AsyncClient) -> None:
            while not over.is_set():
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/ok", headers={"connection": "close"})).status_code == 200:
                        answered_s.append(time.monotonic())

        watching = asyncio.create_task(asyncio.to_thread(watch))
        async with httpx.AsyncClient(base_url=gateway.url, timeout=5) as client:
            asking = [asyncio.create_task(ask(client)) for _ in range(4)]
            for _ in range(2):
                await asyncio.sleep(3)
                with contextlib.suppress(IndexError, ProcessLookupError):
                    killed_s.append(time.monotonic())
                    os.kill(gateway.children()[0], signal.SIGKILL)
            await until_async(lambda: len(seen) > 5)
            over.set()
            await asyncio.gather(*asking, watching)
        until(lambda: gateway.status("/-/live") == 200)
        assert seen == sorted(seen)

        def lost(answer_s: float) -> bool:
            return any(0 <= kill_s - answer_s < LOST_S for kill_s in killed_s)

        kept = sum(not lost(answer_s) for answer_s in answered_s)
        assert kept > 0
        until(lambda: scrape(gateway.url)("requests_ended_total", outcome="done") >= kept)


@pytest.mark.slow
def test_the_operators_pages_of_a_listener_that_everybody_reaches(own: System, tmp_path: Path) -> None:
    host = foreign_address()
    with running(own, tmp_path) as gateway:
        assert gateway.status("/-/metrics") == 200
        for header in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
            assert gateway.status("/-/metrics", **{header: "127.0.0.1"}) == 404
        assert gateway.status("/-/metrics", host="example.com") == 404
        if host is not None:
            assert gateway.status("/-/metrics", host) == 404
            assert gateway.status("/-/live", host) == gateway.status("/-/ready", host) == 200
    with running(own, tmp_path, FLOODGATE_OPS_TOKEN=TOKEN) as gateway:
        for at in filter(None, ("127.0.0.1", host)):
            assert gateway.status("/-/metrics", at) == 401
            assert gateway.status("/-/metrics", at, authorization=f"Bearer {TOKEN}x") == 401
            assert gateway.status("/-/metrics", at, authorization=f"Bearer {TOKEN}", via="1.1 proxy") == 200
            assert gateway.status("/-/live", at) == gateway.status("/-/ready", at) == 200
        assert TOKEN not in gateway.log.read_text()


@pytest.mark.parametrize("app", ["gateway", "worker"])
def test_both_apps_have_the_same_operators_pages_in_a_browser_too(own: System, app: str) -> None:
    running_app = own.gateway(FLOODGATE_OPS_TOKEN=TOKEN) if app == "gateway" else own.worker(FLOODGATE_OPS_TOKEN=TOKEN)
    with httpx.Client(base_url=running_app.url, headers={"accept": "text/html"}) as browser:
        asked = browser.get("/-/metrics")
        assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="operators"')
        assert browser.get("/-/metrics", auth=("operator", "wrong")).status_code == 401
        browser.auth = httpx.BasicAuth("operator", TOKEN)
        opened = browser.get("/-/metrics")
        assert (opened.status_code, "floodgate_processes 1" in opened.text) == (200, True)
        assert browser.post("/-/metrics").status_code == 405
        assert browser.head("/-/metrics").content == b""
        assert browser.get("/-/nothing").status_code == 404
    assert scrape(running_app.url, {"authorization": f"Bearer {TOKEN}"})("processes") == 1
    with pytest.raises(AssertionError):
        scrape(running_app.url)
    assert TOKEN not in running_app.log.read_text()

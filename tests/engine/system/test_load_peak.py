"""`make peak` as a user runs it: ten seconds against a running system, the exit codes, the report in a browser."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.testbed import free_port
from floodgate.peak.plan import Plan
from floodgate.peak.records import Asked, Row, Writer, note_asked, read
from floodgate.peak.sampling import read_processes, read_queue
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.streaming_app import STEP_S
from tests.engine.system.system import App, System, await_ready, system

ROOT = Path(__file__).parents[3]
HANDLERS = "tests.engine.system.load_handlers"
LIMIT_S = 90
START_S = 30
ROUTES = {"GET /quick", "GET /slow/{n}", "POST /things", "GET /plain"}
KNOWN = {"SHAPE", "RPS", "USERS", "SECONDS", "PROCESSES", "HOST", "OPENAPI", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}


@pytest.fixture(scope="module")
def running(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A gateway and a worker with four places."""
    directory = tmp_path_factory.mktemp("load")
    with system(
        directory, server.url, f"load{os.getpid()}", handlers=HANDLERS, FLOODGATE_WORKER_CONCURRENCY="4"
    ) as started:
        started.as_programs = True  # peak knows them by their command lines
        worker = started.worker(wait=False)
        started.gateway()
        await_ready(worker)
        yield started


@pytest.fixture
def gateway(running: System) -> App:
    return running.apps[1]


def make_peak(directory: Path, thresholds: Path | None = None, **asked: str) -> subprocess.CompletedProcess[str]:
    arguments = f"--directory {directory}" + (f" --thresholds {thresholds}" if thresholds else "")
    environment = {name: value for name, value in os.environ.items() if name not in KNOWN}
    command = ["make", "peak", f"ARGS={arguments}", *(f"{name}={value}" for name, value in asked.items())]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def wanting(directory: Path, text: str) -> Path:
    """Return a file of thresholds whose deadlines keep the number of users small."""
    file = directory / "wanted.toml"
    file.write_text(f"[default]\ndeadline_s = 2\n{text}\n")
    return file


@pytest.mark.locust
@pytest.mark.timeout(LIMIT_S + 5)
class TestTenSeconds:
    def test_cover_every_handler_keep_the_pace_and_leave_a_report(self, gateway: App, tmp_path: Path) -> None:
        ran = make_peak(tmp_path, wanting(tmp_path, "max_error_share = 0"), HOST=gateway.url, SECONDS="10", RPS="20")

        assert ran.returncode == 0, ran.stdout + ran.stderr
        (run,) = (path for path in tmp_path.iterdir() if path.is_dir())
        rows = read(run)
        assert {row.route for row in rows} == ROUTES
        assert {row.status for row in rows} <= {200, 503}
        assert re.search(r"asked 4\d\.\d/s, sent (1\.0|0\.9[5-9])", ran.stdout)
        assert "passed: every threshold is kept" in ran.stdout
        assert ran.stdout.count("  asked ") >= 2, "it shows how far it is"
        page = (run / "report.html").read_text()
        assert page.count('<img src="data:image/png;base64,') == len(list(run.glob("*.png"))) == 4
        assert {look.route for look in read_queue(run)} == ROUTES - {"GET /plain"}
        assert {look.name for look in read_processes(run)} >= {"gateway", "worker", "locust"}
        assert re.findall(r'(?:src|href)="(?!data:)', page) == []

    def test_end_with_1_and_the_route_when_a_threshold_is_broken(self, gateway: App, tmp_path: Path) -> None:
        wanted = wanting(tmp_path, '["GET /slow/*"]\nmax_admitted_p99_s = 0.01')
        ran = make_peak(tmp_path, wanted, HOST=gateway.url, SECONDS="4", RPS="20", SHAPE="steady")

        assert ran.returncode == 2, "make says 2 for whatever its command says"
        assert "Error 1" in ran.stderr
        assert re.search(r"GET /slow/\{n\}: admitted_p99_s is 0\.\d+, at most 0\.01 is wanted", ran.stdout)

    def test_are_invalid_when_too_few_users_wait_for_their_answers(self, gateway: App, tmp_path: Path) -> None:
        ran = make_peak(tmp_path, HOST=gateway.url, SECONDS="4", RPS="40", USERS="2", SHAPE="steady")

        assert "Error 2" in ran.stderr
        assert "only while answers come within 0.1 s" in ran.stdout
        assert "INVALID" in ran.stdout

    def test_may_be_sent_by_several_processes(self, gateway: App, tmp_path: Path) -> None:
        wanted = wanting(tmp_path, "")
        ran = make_peak(tmp_path, wanted, HOST=gateway.url, SECONDS="5", RPS="20", SHAPE="spike", PROCESSES="2")

        assert ran.returncode == 0, ran.stdout + ran.stderr
        files = list(tmp_path.rglob("rows-*.csv"))
        assert len(files) == 2


@pytest.mark.locust
@pytest.mark.timeout(LIMIT_S + 5)
def test_by_hand_locusts_own_page_starts_the_load_and_ctrl_c_makes_the_report(gateway: App, tmp_path: Path) -> None:
    page = f"http://127.0.0.1:{(port := free_port())}"
    environment = {name: value for name, value in os.environ.items() if name not in KNOWN}
    process = subprocess.Popen(
        [sys.executable, "-m", "floodgate.peak", "--ui", "--directory", str(tmp_path)],
        cwd=ROOT,
        env=environment | {"HOST": gateway.url, "LOCUST_WEB_PORT": str(port), "USERS": "4", "RPS": "20"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with httpx.Client(base_url=page, timeout=5) as browser:
            until(lambda: browser.get("/").status_code == 200)
            assert browser.post("/swarm", data={"user_count": 4, "spawn_rate": 4}).json()["success"]
            # Of a hundred turns one more or less at the edges is not the twentieth that makes a run invalid.
            until(lambda: {row.route for row in rows_in(tmp_path)} == ROUTES and len(rows_in(tmp_path)) > 100)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()

    assert f"locust's page: {page}" in printed
    assert (process.returncode, "report: " in printed) == (0, True), printed
    assert next(tmp_path.glob("*/report.html")).stat().st_size > 10_000


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so; a page that does not answer yet is not."""
    limit_s = time.monotonic() + START_S
    while time.monotonic() < limit_s:
        with contextlib.suppress(httpx.TransportError):
            if true():
                return
        time.sleep(0.1)
    pytest.fail("it did not come to that")


def rows_in(directory: Path) -> list[Row]:
    return [row for run in directory.iterdir() for row in read(run)]


def peak(directory: Path, **asked: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "floodgate.peak", "--directory", str(directory)]
    environment = {name: value for name, value in os.environ.items() if name not in KNOWN} | asked
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_without_a_system_it_says_how_to_start_one(tmp_path: Path) -> None:
    ran = peak(tmp_path, HOST="http://127.0.0.1:1")
    assert ran.returncode == 2
    assert "start `make dev` in another terminal" in ran.stderr


def test_a_shape_that_is_none_is_answered_with_those_there_are(tmp_path: Path) -> None:
    ran = peak(tmp_path, SHAPE="flat")
    assert (ran.returncode, "peak, steady, step, spike, wave" in ran.stderr) == (2, True)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run as it is kept, with every outcome, without anything that ran."""
    Plan("http://shop.example", "spike", 20, 40, 10).write(tmp_path)
    shutil.copy(ROOT / "loadtest/thresholds.toml", tmp_path / "thresholds.toml")
    for at_s, users in ((1000.0, 40), (1004.0, 200), (1005.0, 40), (1010.0, 0)):
        note_asked(tmp_path, Asked(at_s, users))
    writer = Writer(tmp_path)
    turns = (
        [1000 + n / 20 for n in range(80)] + [1004 + n / 100 for n in range(100)] + [1005 + n / 20 for n in range(100)]
    )
    for number, due_s in enumerate(turns):
        route, status = f"GET /<b>{number % 3}", (200, 200, 200, 503, 504, 500)[number % 6]
        writer.add(Row(due_s, due_s, due_s + 0.05 * (number % 7), route, status, True, status == 503))
    writer.close()
    (tmp_path / "processes.csv").write_text("1001,gateway,0.3\n1002,gateway,0.4\n1002,worker,0.1\n")
    (tmp_path / "queue.csv").write_text("1001,GET /a,0,3,8\n1002,GET /a,4,4,8\n1003,GET /a,0,0,8\n")
    subprocess.run([sys.executable, "-m", "floodgate.peak.report", str(tmp_path)], cwd=ROOT, check=True)
    return tmp_path


LOOK = """<script>onload = () => { document.body.dataset.seen =
[...document.images].map(image => image.naturalWidth + "x" + image.naturalHeight + "@" + image.width).join(" ") }
</script>"""


@pytest.mark.chromium
@pytest.mark.locust
class TestTheReport:
    def test_opens_in_a_browser_and_all_its_pictures_are_seen(self, kept: Path) -> None:
        looked_at = kept / "looked-at.html"
        looked_at.write_text((kept / "report.html").read_text().replace("</body>", f"{LOOK}</body>"))

        page = chromium(looked_at, "--dump-dom")

        (seen,) = re.findall(r'data-seen="([^"]*)"', page)
        sizes = [tuple(map(int, re.split("[x@]", each))) for each in seen.split()]
        assert len(sizes) == 4
        assert all(width > 600 and height > 150 and shown > 600 for width, height, shown in sizes)

    def test_shows_verdict_table_and_breaches_and_takes_no_name_for_markup(self, kept: Path) -> None:
        page = chromium(kept / "report.html", "--dump-dom")

        assert "FAILED" in page
        assert page.count("<tr>") == 1 + 3 + 1
        assert "GET /&lt;b&gt;0" in page
        assert "late_share is" in page

    def test_is_no_empty_page(self, kept: Path) -> None:
        picture = kept / "screen.png"
        chromium(kept / "report.html", f"--screenshot={picture}", "--window-size=1100,1800")

        assert colours_of(picture) > 50


def chromium(page: Path, *arguments: str) -> str:
    """Open a page without a screen, and return what the browser prints."""
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'user'}"]
    ran = subprocess.run(
        [*command, *arguments, page.as_uri()], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    return ran.stdout


def colours_of(picture: Path) -> int:
    """Return how many colours a picture has."""
    code = """
import sys
from matplotlib.image import imread
print(len({tuple(point) for row in imread(sys.argv[1])[::4] for point in row[::4, :3].tolist()}))
"""
    ran = subprocess.run([sys.executable, "-c", code, str(picture)], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.locust
@pytest.mark.timeout(LIMIT_S + 5)
def test_of_streams_it_tells_first_item_and_end_and_calls_what_breaks_off_an_error(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.engine.system.streaming_app:app", "--port", str(port)]
    served = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        host = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{host}/plain").status_code == 200)
        wanted = wanting(
            tmp_path, 'stream_s = 2\n["GET /whole"]\nmax_error_share = 0\n["GET /broken"]\nmax_error_share = 0'
        )
        ran = make_peak(tmp_path, wanted, HOST=host, SECONDS="4", RPS="20", SHAPE="steady")
    finally:
        served.terminate()
        served.wait(LIMIT_S)
    assert "GET /broken: error_share is 1, at most 0 is wanted" in ran.stdout, ran.stdout + ran.stderr
    assert "GET /whole: " not in ran.stdout
    (run,) = (path for path in tmp_path.iterdir() if path.is_dir())
    rows = {
        route: [row for row in read(run) if row.route == f"GET /{route}"]
        for route in ("whole", "broken", "empty", "plain")
    }
    assert all(len(found) >= 5 for found in rows.values())
    for row in rows["whole"]:
        assert row.status == 200
        assert row.first_s is not None
        assert row.first_s - row.sent_s < row.done_s - row.sent_s - 2 * STEP_S
        assert row.done_s - row.sent_s >= 3 * STEP_S
    assert {(row.status, row.first_s is None) for row in rows["broken"]} == {(0, False)}
    assert {(row.status, row.first_s) for row in (*rows["empty"], *rows["plain"])} == {(200, None)}

"""The demo and everything the README and docs/internals.md show: run as written, outputs compared.

The one file that knows the demo. When that is deleted, so are these tests, and
one says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from floodgate.broker.keys import CATALOGUE
from floodgate.operations.environment import variable
from floodgate.operations.settings import Settings
from floodgate.testing import SystemFactory
from tests.engine.system.system import free_ports

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "shared/handlers/demo.py"
README = (ROOT / "README.md").read_text()
INTERNALS = (ROOT / "docs/internals.md").read_text()
START_S = 45
END_S = 15
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{16}\b")
"""Ids that differ each time."""


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Return every command of the README with the output that it shows."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


CURLS = [(command, output) for command, output in commands() if command.startswith("curl ")]


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Two free ports, for the gateway and the worker."""
    one, other = free_ports(2)
    return one, other


@pytest.fixture(scope="module")
def dev(ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`make dev`, ready; the path of what it prints."""
    output = tmp_path_factory.mktemp("dev") / "output"
    foreign = {"REDIS_URL", "HANDLERS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment |= {"GATEWAY_PORT": str(ports[0]), "WORKER_PORT": str(ports[1]), "TMPDIR": str(output.parent)}
    environment["ORDERS_DB"] = str(output.parent / "orders.sqlite3")
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["make", "dev"], cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while "|   edit: " not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        yield output
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C; kill what that leaves."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(END_S)
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def curl(command: str) -> str:
    """Do what a curl line of the README says, on a machine without curl too."""
    words = iter(shlex.split(command)[1:])
    url, headers, data = "", {}, None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            data = next(words)
        else:
            assert not word.startswith("-"), f"{word} is not understood here"
            url = word
    return httpx.request("GET" if data is None else "POST", url, headers=headers, content=data).text


def ran(command: str) -> list[str]:
    """Return what the command prints, by every program that is there."""
    printed = [curl(command)]
    if shutil.which("curl"):
        silent = [*shlex.split(command), "--silent", "--show-error", "--noproxy", "*"]
        printed.append(subprocess.run(silent, capture_output=True, text=True, check=True, timeout=30).stdout)
    return printed


class TestReadme:
    """What the README shows of a project that still has its demo."""

    __test__ = DEMO.exists()

    def test_make_dev_prints_what_it_shows(self, dev: Path, ports: tuple[int, int]) -> None:
        (shown,) = [output for command, output in commands() if command == "make dev"]
        assert shown.replace(":8000", f":{ports[0]}") in "".join(
            line for line in dev.read_text().splitlines(keepends=True) if line.startswith("dev ")
        )

    @pytest.mark.parametrize(("command", "shown"), CURLS, ids=[command for command, _ in CURLS])
    def test_a_curl_line_prints_what_it_shows(
        self, dev: Path, ports: tuple[int, int], command: str, shown: str
    ) -> None:
        for printed in ran(command.replace(":8000/", f":{ports[0]}/")):
            assert RANDOM.sub("…", printed.rstrip("\n")) == RANDOM.sub("…", shown.rstrip("\n"))

    def test_every_demo_route_is_shown_and_documented_with_its_refusals(
        self, dev: Path, ports: tuple[int, int]
    ) -> None:
        paths = httpx.get(f"http://127.0.0.1:{ports[0]}/openapi.json").json()["paths"]
        shown = {httpx.URL(shlex.split(command)[1]).path for command, _ in CURLS}
        assert set(paths) <= shown
        queued = [methods for path, methods in paths.items() if path != "/plain"]
        for (operation,) in (methods.values() for methods in queued):
            for status in ("500", "502", "503", "504"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"]

    def test_a_handler_of_the_demo_answers_with_its_own_status(self, dev: Path, ports: tuple[int, int]) -> None:
        order = {"item": "nothing", "price": 1}
        answer = httpx.post(f"http://127.0.0.1:{ports[0]}/orders", json=order, headers={"x-request-id": "mine"})
        assert (answer.status_code, answer.json()) == (409, {"detail": "nothing is out of stock"})
        assert answer.headers["x-request-id"] == "mine"

    def test_a_price_beyond_all_measure_is_422(self, dev: Path, ports: tuple[int, int]) -> None:
        order = '{"item": "tea", "price": 1e999999999}'
        headers = {"content-type": "application/json"}
        for content in (order, order.replace("1e999999999", '"1e999999999"')):
            answer = httpx.post(f"http://127.0.0.1:{ports[0]}/orders", content=content, headers=headers)
            assert answer.status_code == 422, content

    def test_an_integer_of_any_size_comes_back(self, dev: Path, ports: tuple[int, int]) -> None:
        assert len(httpx.get(f"http://127.0.0.1:{ports[0]}/async-test?n=5000").text) == 1045

    def test_an_order_is_in_the_database_of_the_two_workers(self, dev: Path, ports: tuple[int, int]) -> None:
        order = {"item": "tea", "quantity": 3, "price": "1.50"}
        ids = [httpx.post(f"http://127.0.0.1:{ports[0]}/orders", json=order).json()["id"] for _ in range(4)]
        with contextlib.closing(sqlite3.connect(dev.parent / "orders.sqlite3")) as database:
            rows = database.execute("SELECT id, item, total FROM orders").fetchall()
        assert {(id, "tea", "4.50") for id in ids} <= set(rows)
        assert "a resource did not open" not in dev.read_text()

    async def test_a_database_that_cannot_be_written_keeps_the_worker_unready_and_says_how_to_mend_it(
        self,
        floodgate: SystemFactory,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("ORDERS_DB", str(tmp_path / "file" / "orders.sqlite3"))
        async with floodgate(workers=0) as system:
            worker = system.start_worker()
            async with asyncio.timeout(2):
                while "set ORDERS_DB to a file that can" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert not worker.ready

    async def test_the_python_blocks_are_handlers_and_tests_as_written(
        self, floodgate: SystemFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "readme_blocks"
        package.mkdir()
        (package / "__init__.py").touch()
        for number, block in enumerate(blocks("python")):
            (package / f"block_{number}.py").write_text(block)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)

        async with floodgate("readme_blocks") as system:
            assert (await system.get("/")).json() == {"hello": "world"}
            receipt = (await system.post("/orders", json={"item": "tea"}, headers={"x-request-id": "mine"})).json()
            assert (await system.post("/orders", json={"item": "nothing"})).status_code == 409
        with contextlib.closing(sqlite3.connect("orders.sqlite3")) as database:
            assert database.execute("SELECT * FROM orders").fetchall() == [(receipt["id"], "tea")]
        assert receipt["request_id"] == "mine"
        assert [handler.label for handler in system.registry.handlers] == ["GET /", "POST /orders"]

        modules = [module for name, module in sys.modules.items() if name.startswith("readme_blocks.")]
        tests = [f for m in modules for name, f in inspect.getmembers(m) if name.startswith("test_")]
        for test in tests:
            if inspect.iscoroutinefunction(test):
                await test(floodgate)
            else:
                test()
        assert len(tests) == 2


class TestWithoutDemo:
    """What is left of these tests when the demo is deleted."""

    __test__ = not DEMO.exists()

    def test_the_demo_is_gone(self) -> None:
        print("the demo is gone")


def test_every_make_target_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command.split()[1] for command, _ in commands() if command.startswith("make ")} <= targets
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets


def test_every_file_the_documents_name_is_there() -> None:
    named = re.findall(r"[`(]((?:shared|gateway_app|worker_app|docs|tests|deploy)/[\w./-]+)[`)]", README + INTERNALS)
    assert [path for path in named if not (ROOT / path).exists() and ROOT / path != DEMO] == []


def test_the_settings_the_readme_names_have_the_defaults_it_says() -> None:
    defaults = {variable(name): field.default for name, field in Settings.model_fields.items()}
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([\d, ]+) \|", README, re.MULTILINE)
    said = {
        name: int(value) for names, values in rows for name, value in zip(_names(names), _values(values), strict=True)
    }
    assert len(said) >= 9, "the table has another form"
    assert said == {name: defaults[name] for name in said}


def _names(cell: str) -> list[str]:
    return re.findall(r"[A-Z_]+", cell)


def _values(cell: str) -> list[str]:
    return cell.split(", ")


def test_the_key_catalogue_in_the_internals_is_that_of_the_code() -> None:
    table = INTERNALS.partition("## Keys\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == catalogue_rows()


def catalogue_rows() -> list[str]:
    """Return the catalogue as rows of the table in docs/internals.md."""
    rows = []
    for kind in CATALOGUE:
        name = f"{kind.name}:<{kind.per}>" if kind.per else kind.name
        end_of = kind.owner if kind.ttl_s is None else f"{kind.owner}: {kind.ttl_s} s"
        rows.append(f"| `{name}` | {kind.type} | {kind.content} | {end_of} |")
    return rows

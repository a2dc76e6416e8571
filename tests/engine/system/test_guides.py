"""The guides under docs/: every module they show runs, every curl line prints what is shown."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, File, Form, Request, Response, UploadFile

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import declared_in
from floodgate.errors import DeclarationError
from floodgate.run.embedded_server import EmbeddedServer
from shared import queued
from tests.engine.system.system import ROOT, App, System, await_ready, system

GUIDES = ("handlers.md", "admission.md", "from-fastapi-queue.md")
PACKAGE = f"guides_{uuid.uuid4().hex[:8]}"
GATEWAY = "gateway_app/main.py"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RANDOM = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{32}|\b[0-9a-f]{16}\b")
SHOWN_AS = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Curl:
    """One command of a guide; `extended`: it stands after the module that is the gateway."""

    command: str
    shown: str
    extended: bool


def text(guide: str) -> str:
    return (ROOT / "docs" / guide).read_text()


def modules() -> dict[str, str]:
    """Return what the guides show as files of the project; their imports of each other lead to copies."""
    found = {}
    for guide in GUIDES:
        for language, block in BLOCK.findall(text(guide)):
            name = block.partition("\n")[0].removeprefix("# ")
            if language == "python" and not name.startswith("before"):
                assert name.endswith(".py"), f"{guide}: a block begins with the name of its file: {name}"
                assert name not in found
                found[name] = block.replace("from shared.handlers.", f"from {PACKAGE}.handlers.")
    return found


def curls() -> list[Curl]:
    found = []
    for guide in GUIDES:
        extended = False
        for language, block in BLOCK.findall(text(guide)):
            extended = extended or GATEWAY in block
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] if language == "console" else ():
                command, _, shown = part.partition("\n")
                found.append(Curl(command, shown.removesuffix("\n"), extended))
    return found


def file_of(name: str) -> str:
    """Return where a module of the project lies in the package of copies."""
    return name.replace("shared/handlers/", "handlers/").replace("gateway_app/", "")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package lies that has all modules of the guides."""
    directory = tmp_path_factory.mktemp("guides")
    package = directory / PACKAGE
    for name, module in {"__init__.py": "", "handlers/__init__.py": "", **modules()}.items():
        path = package / file_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module)
    return directory


@pytest.fixture(scope="module")
def guided(server: EmbeddedServer, directory: Path) -> Iterator[System]:
    """One worker, a gateway that comes along, and one that a guide has extended."""
    with system(directory, server.url, PACKAGE, f"{PACKAGE}.handlers", PYTHONPATH=str(directory)) as running:
        running.gateway(wait=False)
        running._start(f"{PACKAGE}.main:build", False, {})
        running.worker(wait=False)
        for app in running.apps:
            await_ready(app)
        yield running


WORDS = {"-X": "method", "-H": "header", "-d": "data", "-b": "cookie", "-w": "format"}


def curl(command: str) -> str:
    """Do what a curl line says, on a machine without curl too."""
    given: dict[str, list[str]] = {name: [] for name in (*WORDS.values(), "url")}
    words = iter(shlex.split(command)[1:])
    for word in words:
        if word.startswith("-"):
            given[WORDS[word]].append(next(words))
        else:
            given["url"].append(word)
    headers = [tuple(header.split(": ", 1)) for header in given["header"]] + [
        ("cookie", text) for text in given["cookie"]
    ]
    method = "".join(given["method"]) or ("POST" if given["data"] else "GET")
    answer = httpx.request(method, *given["url"], headers=headers, content="".join(given["data"]) or None)  # type: ignore[arg-type]
    after = "".join(given["format"]).replace("%{http_code}", str(answer.status_code))
    return answer.text + after.replace("%{content_type}", answer.headers.get("content-type", ""))


def printed(command: str) -> Iterator[str]:
    """Yield what the command prints, by every program that is there."""
    yield curl(command)
    if shutil.which("curl"):
        silent = [*shlex.split(command), "--silent", "--show-error", "--noproxy", "*"]
        yield subprocess.run(silent, capture_output=True, text=True, check=True, timeout=30).stdout


def at(gateway: App, command: str) -> str:
    assert SHOWN_AS in command
    return command.replace(SHOWN_AS, gateway.url)


@pytest.mark.parametrize("line", curls(), ids=lambda line: line.command)
def test_a_curl_line_prints_what_is_shown(guided: System, line: Curl) -> None:
    for output in printed(at(guided.apps[1 if line.extended else 0], line.command)):
        assert RANDOM.sub("…", output.rstrip("\n")) == RANDOM.sub("…", line.shown.rstrip("\n"))


def test_the_tests_that_are_shown_pass(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(directory))
    names = [name for name in modules() if name.startswith("tests/")]
    assert names
    for name in names:
        (directory / PACKAGE / "tests" / "__init__.py").touch()
        module = importlib.import_module(f"{PACKAGE}.{file_of(name).removesuffix('.py').replace('/', '.')}")
        tests = [function for test, function in inspect.getmembers(module) if test.startswith("test_")]
        assert tests
        for test in tests:
            test()


def test_every_module_that_is_shown_has_a_curl_line() -> None:
    paths = re.findall(r'(?:@queued|@router\.get)\("([^"{]+)', "".join(modules().values()))
    asked = [line.command for line in curls()]
    assert [path for path in paths if not any(path.rstrip("/") in command for command in asked)] == []


def test_the_guide_names_parameters_that_the_decorator_has() -> None:
    table = text("handlers.md").partition("## The decorator\n")[2].partition("\n## ")[0]
    named = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert len(named) >= 12
    assert named <= set(inspect.signature(queued).parameters)


REFUSED = {
    "Depends": Annotated[int, Depends(dict)],
    "Request": Request,
    "Response": Response,
    "Form": Annotated[str, Form()],
    "File": Annotated[bytes, File()],
    "UploadFile": UploadFile,
    "BackgroundTasks": BackgroundTasks,
}


def test_what_the_guide_says_is_refused_is_refused() -> None:
    table = text("handlers.md").partition("## What is refused, and what to do instead\n")[2].partition("\n## ")[0]
    named = [
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert named == list(REFUSED)
    for annotation in REFUSED.values():
        before = len(declared_in(__name__))

        def handler(x: object) -> None: ...

        handler.__annotations__["x"] = annotation
        queued("/x", 1)(handler)
        with pytest.raises(DeclarationError):
            build_registry(declared_in(__name__)[before:], 10)


def test_every_file_a_guide_names_is_there() -> None:
    own = set(modules())
    named = re.findall(r"`((?:shared|gateway_app|worker_app|docs|tests|deploy)/[\w./-]+)`", "".join(map(text, GUIDES)))
    assert [path for path in named if path not in own and not (ROOT / path).exists()] == []


OLD_WORDS = (
    "DistributedTaskApplyManager success rclt task_level allowed_type_limit threads route_table "
    "route_table_maximum_concurrency run_startup method_register graceful_shutdown RateLimiter -1 -2"
)


@pytest.mark.parametrize("word", OLD_WORDS.split())
def test_every_word_of_the_older_package_has_a_row(word: str) -> None:
    table = text("from-fastapi-queue.md").partition("## Its words and ours\n")[2].partition("\n## ")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
    assert any(re.search(rf"`{re.escape(word)}\b", first) for first in firsts)


def test_links_between_the_guides_lead_somewhere() -> None:
    for guide in GUIDES:
        for target, anchor in re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", text(guide)):
            headings = re.findall(r"^#+ (.*)$", text(target or guide), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]

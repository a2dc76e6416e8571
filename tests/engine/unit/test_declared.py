"""`python -m floodgate declared` finds what only a start would, and shows it where the user wrote it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAIN = "gateway_app/main.py"
HANDLER = "shared/handlers/another.py"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The user's wing; the engine is that of this checkout."""
    for name in ("shared", "gateway_app", "worker_app"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def declared(clone: Path) -> tuple[int, str]:
    """Return exit code and what was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLOODGATE_", "REDIS_"))}
    command = [sys.executable, "-m", "floodgate", "declared"]
    environment["PYTHONPATH"] = str(ROOT)
    ended = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=50)
    return ended.returncode, ended.stdout + ended.stderr


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_comes_along_is_declared(clone: Path) -> None:
    assert declared(clone) == (0, "")


def test_a_plain_route_with_the_path_of_a_queued_one_is_named_with_both(clone: Path) -> None:
    edit(clone / MAIN, '@app.get("/plain"', '@app.get("/sync-test"')
    code, said = declared(clone)
    assert code == 1
    assert said.startswith("GET /sync-test is a queued route (")
    assert "give one of them another path" in said


def test_an_application_that_was_not_joined_is_told_so(clone: Path) -> None:
    edit(clone / MAIN, "return join(app, identify=identify)", "return app")
    code, said = declared(clone)
    assert (code, said) == (1, "gateway_app/main.py: build() has to return what join() returned\n")


@pytest.mark.parametrize(
    "mistake",
    [
        "import nowhere_to_be_found\n",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("def broken(:\n", "1 / 0\n")),
    ],
)
def test_a_mistake_in_a_module_is_shown_without_the_engines_frames(clone: Path, mistake: str) -> None:
    (clone / HANDLER).write_text(mistake)
    code, said = declared(clone)
    assert code == 1
    assert "another.py" in said
    assert str(ROOT / "floodgate") not in said
    assert len(said.splitlines()) < 10

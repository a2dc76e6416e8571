"""`.ci/run` in a clone with nothing beside it: it names what it leaves out, and leaves out nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HIDDEN = (".venv", ".git", ".cache", "__pycache__", "loadtest", "benchmarks", "docs")
PROGRAMS = ("redis-server", "haproxy", "wrk", "chromium", "promtool", "openssl", "kubectl")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy whose `make` only says what it was asked, on a machine that has all programs but Docker."""
    shutil.copytree(ROOT, tmp_path / "project", ignore=shutil.ignore_patterns(*HIDDEN))
    (tmp_path / "bin").mkdir()
    for program in (*PROGRAMS, "make", "docker"):
        path = tmp_path / "bin" / program
        path.write_text('#!/bin/sh\necho "asked: make $*"\n' if program == "make" else "#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    return tmp_path


def run(clone: Path) -> str:
    environment = os.environ | {"PATH": f"{clone / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [clone / "project/.ci/run"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_an_engine_the_tests_that_need_one_are_named_and_left_out(clone: Path) -> None:
    said = run(clone)
    assert re.findall("asked: make (.*)", said) == ["check", "test", "test-all WITHOUT=docker"]
    named = set(re.findall(r"^  (tests/\S+)$", said, re.MULTILINE))
    assert "tests/engine/system/containers/test_up.py" in named
    assert all(name.startswith("tests/engine/system/containers/test_") for name in named)


def test_with_an_engine_nothing_is_left_out(clone: Path) -> None:
    (clone / "bin/docker").write_text("#!/bin/sh\nexit 0\n")
    said = run(clone)
    assert re.findall("asked: make (.*)", said) == ["check", "test", "test-all WITHOUT="]
    assert "left out" not in said


def test_make_leaves_out_what_it_is_told_to() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "test-all", "WITHOUT=docker"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r'-m "\(redis_server or .*\) and not \(docker\)"', told)

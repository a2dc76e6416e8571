"""`floodgate.peak` runs where the engine and its packages are not: in the image of the load tests, or on a laptop."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENGINES = ("fastapi", "starlette", "pydantic", "redis", "hiredis", "uvicorn", "gunicorn")
"""Packages of the engine; locust brings msgpack of its own."""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What the Dockerfile's stage `loadtest` copies, and nothing else."""
    shutil.copytree(ROOT / "floodgate/peak", tmp_path / "floodgate/peak")
    shutil.copyfile(ROOT / "floodgate/__init__.py", tmp_path / "floodgate/__init__.py")
    shutil.copytree(ROOT / "loadtest", tmp_path / "loadtest")
    return tmp_path


def imported(where: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    hidden = f"import sys; sys.modules.update(dict.fromkeys({ENGINES!r}))"
    code = f"{hidden}; import {', '.join(modules)}"
    command = [str(Path(sys.executable).absolute()), "-c", code]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


def test_the_command_and_the_scenarios_need_nothing_of_the_engine(copied: Path) -> None:
    ran = imported(copied, "floodgate.peak.__main__", "loadtest.scenarios")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.locust
def test_neither_does_the_locustfile_nor_the_report(copied: Path) -> None:
    ran = imported(copied, "loadtest.locustfile", "floodgate.peak.report")
    assert ran.returncode == 0, ran.stderr


def test_the_image_is_made_of_what_is_copied_here() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    stage = dockerfile.partition("AS loadtest-install")[2].partition("FROM ")[0]
    for path in ("floodgate/__init__.py", "floodgate/peak", "loadtest"):
        assert f"COPY {path} {path}\n" in stage

"""What runs before anything is installed imports the standard library alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that sees neither installed packages nor the environment."""
    return subprocess.run(
        [sys.executable, "-I", "-S", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    "module", ["floodgate", "floodgate.run", "floodgate.run.containers", "floodgate.run.acl", "floodgate.run.pin"]
)
def test_a_module_needs_nothing_installed(module: str) -> None:
    done = bare("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", ["up", "down", "logs", "ps", "scale", "roll", "check", "pin", "acl", "init", "upgrade"]
)
def test_a_command_explains_itself_with_nothing_installed(command: str) -> None:
    run = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['floodgate', {command!r}, '--help']; "
    done = bare("-c", f"{run}import floodgate.__main__; floodgate.__main__.main()")
    assert f"usage: python -m floodgate {command}" in done.stdout, done.stderr


def test_the_health_check_needs_nothing_installed() -> None:
    done = bare("floodgate/run/health.py", "1")
    assert (done.returncode, done.stderr) == (1, "")
    assert "no answer" in done.stdout


def test_a_command_imports_only_what_it_needs() -> None:
    run = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import floodgate.__main__; "
    done = bare("-c", f"{run}print([name for name in sys.modules if name.startswith('floodgate.')])")
    assert done.stdout == "['floodgate.__main__']\n"

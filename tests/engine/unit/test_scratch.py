"""Directories of masters that were killed do not pile up in memory; those of living processes stay."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodgate.operations.scratch import PREFIX, make, sweep

ROOT = Path(__file__).parents[3]
FORKING = """
import os, sys, time
from pathlib import Path
from floodgate.operations.scratch import make
directory = make(Path(sys.argv[1]))
if os.fork() == 0:
    print(directory, flush=True)  # by the child: then there is one
    time.sleep(60)
sys.stdin.read()
"""


def end(process: subprocess.Popen[str]) -> None:
    """Kill it with all that it has forked, and wait until they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.read()  # the child has it open too


@pytest.fixture
def master(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a directory and a child, and that directory; killed at the end, with its child."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path)],
        cwd=ROOT,
        stdin=pipe,
        stdout=pipe,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    yield process, Path(process.stdout.readline().strip())
    if not process.stdout.closed:
        end(process)
    process.stdin.close()
    process.stdout.close()


Master = tuple[subprocess.Popen[str], Path]


def test_a_directory_stays_while_one_of_its_processes_lives_and_is_swept_by_the_next_master(
    master: Master, tmp_path: Path
) -> None:
    process, directory = master
    (directory / "gateway").mkdir()
    sweep(tmp_path)
    assert directory.is_dir()
    process.kill()  # not its child
    process.wait()
    sweep(tmp_path)
    assert directory.is_dir()
    end(process)
    next_one = make(tmp_path)
    assert [*tmp_path.glob(f"{PREFIX}*")] == [next_one]


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}being-made").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/alive").touch()
    sweep(tmp_path)
    assert len([*tmp_path.iterdir()]) == 2

"""`make overload` as CI runs it: one short block against the real system, judged by what is exact."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import pytest

from tests.engine.system.system import run_module

LIMIT_S = 150


def overload(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_module("benchmarks.overload", "--directory", str(directory), *arguments, limit_s=LIMIT_S)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 10)
def test_a_short_block_of_overload_loses_doubles_and_leaks_nothing(tmp_path: Path) -> None:
    ended = overload(tmp_path, "--short")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (rows,) = tmp_path.rglob("requests.csv")
    with rows.open(newline="") as file:
        sent = list(csv.DictReader(file))
    assert len({(row["number"], row["attempt"]) for row in sent}) == len(sent) > 3000
    assert {"200", "503"} <= {row["status"] for row in sent}
    assert [path.name for path in tmp_path.rglob("report.txt")] == ["report.txt"]


def test_an_unknown_part_is_named_with_those_there_are(tmp_path: Path) -> None:
    ended = overload(tmp_path, "--part", "nonsense")
    assert ended.returncode == 2
    assert "tenants" in ended.stderr

"""`make capacity`: its short run fills the page, and what it cannot measure it says."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.capacity_parts import PARTS, Part
from tests.engine.system.system import ROOT, run_module

PAGE = ROOT / "docs/performance.md"
LIMIT_S = 90


def capacity(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_module("benchmarks.capacity", *arguments, limit_s=LIMIT_S, **env)


@pytest.mark.wrk
@pytest.mark.locust
@pytest.mark.timeout(LIMIT_S + 5)
def test_a_short_run_fills_every_part_of_the_page_and_draws_it(tmp_path: Path) -> None:
    page = tmp_path / "docs/performance.md"
    page.parent.mkdir()
    text, emptied = PAGE.read_text(), r"<!-- \1 \2 -->\n<!-- end of \2 -->"
    page.write_text(re.sub(r"<!-- (capacity) (\w+) -->.*?<!-- end of \2 -->", emptied, text, flags=re.DOTALL))

    ran = capacity("--short", "--document", str(page), "--directory", str(tmp_path / "kept"))

    assert ran.returncode == 0, ran.stdout + ran.stderr
    filled = page.read_text()
    for name in PARTS:
        part = filled.partition(f"<!-- capacity {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        assert re.search(r"^\| [\d,]+ +\| .*[1-9]", part, re.MULTILINE), f"{name} has no figures"
        assert f"Python {sys.version.split()[0]}" in part
        (image,) = re.findall(r"\((images/[\w.-]+)\)", part)
        width, height = struct.unpack(">II", (page.parent / image).read_bytes()[16:24])
        assert (width > 600, height > 200) == (True, True)
        (kept,) = tmp_path.glob(f"kept/*/{name}.json")
        assert Part.read(kept).name == name
    outside = re.compile(r"<!-- capacity.*?<!-- end of \w+ -->", re.DOTALL)
    assert outside.sub("", filled) == outside.sub("", text), "what people wrote stays"


def test_without_wrk_it_ends_with_2_and_names_the_package(tmp_path: Path) -> None:
    ran = capacity("--short", PATH=str(tmp_path))

    assert (ran.returncode, "apt install wrk" in ran.stderr) == (2, True)


@pytest.mark.wrk
def test_a_page_without_a_mark_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shutil.copy(ROOT / "README.md", page)

    ran = capacity("--only", "payload", "--document", str(page))

    assert (ran.returncode, "has no <!-- capacity payload -->" in ran.stderr) == (2, True)
    assert page.read_text() == (ROOT / "README.md").read_text()


def test_the_page_that_ships_has_every_part_with_its_picture() -> None:
    text = PAGE.read_text()
    for name in PARTS:
        part = text.partition(f"<!-- capacity {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        (image,) = re.findall(r"\((images/[\w.-]+)\)", part)
        assert 5_000 < (PAGE.parent / image).stat().st_size < 150_000
        assert "Measured on" in part

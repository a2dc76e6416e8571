"""What the workflows of .github/ call is there: targets of the Makefile, stages of the Dockerfile, lock files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]


def steps() -> Iterator[dict[str, Any]]:
    for path in ROOT.glob(".github/workflows/*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            yield from job.get("steps", [])


def test_a_workflow_makes_what_the_makefile_has() -> None:
    made = {
        word
        for step in steps()
        for words in re.findall(r"\bmake ([a-z -]+)", step.get("run", ""))
        for word in words.split()
    }
    assert made <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_a_workflow_builds_a_stage_that_there_is_and_caches_by_lock_files_that_there_are() -> None:
    given = [step.get("with", {}) for step in steps()]
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {words["target"] for words in given if "target" in words} <= set(stages)
    assert all(list(ROOT.glob(words["cache-dependency-path"])) for words in given if "cache-dependency-path" in words)


def test_actions_of_others_have_a_version() -> None:
    assert [step["uses"] for step in steps() if not re.search(r"@v?[0-9a-f.]+$", step.get("uses", "@v1"))] == []

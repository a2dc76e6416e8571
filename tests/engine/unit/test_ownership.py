"""`[tool.floodgate]` in pyproject.toml says whose every committed file is; an upgrade goes by it."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TABLE: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["floodgate"]
OWNERS = {owner: TABLE[owner] for owner in TABLE.keys() - {"source", "base"}}


def owners(path: str) -> list[str]:
    """Return who has the longest entry that fits a path: one, where the table is right."""
    fitting = [
        (len(entry), owner)
        for owner, entries in OWNERS.items()
        for entry in entries
        if path == entry or (entry.endswith("/") and path.startswith(entry))
    ]
    return [owner for length, owner in fitting if length == max(fitting)[0]]


def test_every_committed_file_has_exactly_one_owner() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [path for path in listed.split("\0") if path]
    assert len(paths) > 300
    assert {path: owners(path) for path in paths if len(owners(path)) != 1} == {}


def test_the_owners_are_three() -> None:
    assert set(OWNERS) == {"yours", "engine", "both"}


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("shared/handlers/mine.py", "yours"),
        ("tests/test_mine.py", "yours"),
        ("tests/engine/conftest.py", "engine"),
        ("floodgate/requirements/run.in", "engine"),
        ("requirements/run.in", "both"),
    ],
)
def test_what_a_cloner_adds_is_his_and_the_rest_is_not(path: str, owner: str) -> None:
    assert owners(path) == [owner]


@pytest.mark.parametrize("name", ["run", "dev", "load"])
def test_the_engines_dependencies_are_listed_by_the_engine_and_included_by_the_user(name: str) -> None:
    assert f"-r ../floodgate/requirements/{name}.in" in (ROOT / f"requirements/{name}.in").read_text().splitlines()

"""The tables of promises: a row for every promise of docs/internals.md, and no test that is not there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLES = (TESTS / "README.md").read_text()
INTERNALS = (TESTS.parents[1] / "docs/internals.md").read_text()
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*test_.*\|$", TABLES, re.M)]


def test_every_promise_has_a_row() -> None:
    promises = re.findall(r"^\* \*\*([^*]+)\*\*", INTERNALS.partition("## What is promised")[2], re.MULTILINE)
    assert promises.pop() == "Not promised:"
    assert [row[0] for row in ROWS][: len(promises)] == promises


def test_every_case_is_a_heading_of_the_internals() -> None:
    cases = [row[0] for row in ROWS if not row[0].endswith(".")]
    assert len(cases) > 5
    assert set(cases) <= set(re.findall(r"^## (.+)$", INTERNALS, re.MULTILINE))


def test_every_test_that_is_named_is_there() -> None:
    assert set(re.findall(r"`(test_\w+)`", TABLES)) - _tests() == set()


def _tests() -> set[str]:
    texts = [path.read_text("utf-8") for path in TESTS.rglob("test_*.py")]
    return {name for text in texts for name in re.findall(r"def (test_\w+)\(", text)}


def test_every_guarantee_names_the_tests_that_show_it_and_they_are_there() -> None:
    guarantees = (TESTS.parents[1] / "docs/guarantees.md").read_text()
    promised = guarantees.partition("## Promised")[2].partition("## A failover in figures")[0]
    rows = [row for row in re.findall(r"^\| (.*) \|$", promised, re.M) if not row.startswith("what |")]
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row.rpartition(" | ")[2]] == []
    assert set(re.findall(r"`(test_\w+)`", guarantees)) - _tests() == set()

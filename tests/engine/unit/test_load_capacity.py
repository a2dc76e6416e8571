"""The page of `make capacity`: medians, tables and marks, without anything that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import NoMark
from benchmarks.capacity_parts import Curve, Part, Point, median


def part(*curves: Curve) -> Part:
    return Part("nodes", "Nodes", "workers", "A handler that waits.", curves, "2 processors")


def test_a_point_is_the_median_of_its_rounds_and_remembers_how_far_they_were_apart() -> None:
    rounds = [Point(4, per_s, ms, 2 * ms, {"cost": ms}) for per_s, ms in ((100, 3), (130, 1), (90, 2))]
    assert median(rounds) == Point(4, 100, 2, 4, {"cost": 2}, spread=0.4)


def test_a_table_has_a_row_for_each_point_and_names_curves_only_when_there_are_several() -> None:
    one = Curve("queued", [Point(1, 1234.5, 0.5, 1.25, {"cost": 120}), Point(10_000, 99, 100.4, 2000)])
    assert capacity.table(part(one)).splitlines() == [
        "| workers | requests/s | p50 ms | p99 ms | cost |",
        "|---------|------------|--------|--------|------|",
        "| 1       | 1,234      | 0.5    | 1.25   | 120  |",
        "| 10,000  | 99         | 100    | 2,000  |      |",
    ]
    two = Curve("direct", [Point(1, 5, 1, 1), Point(10_000, 5, 1, 1)])
    rows = capacity.table(part(one, two)).splitlines()
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["queued", "direct", "queued", "direct"]


@pytest.mark.parametrize(
    ("spread", "says"),
    [(0.0, ""), (0.1, "differed by up to 10%"), (0.3, "up to 30% in its requests/s: the machine")],
)
def test_a_noisy_machine_is_told_on_the_page(spread: float, says: str) -> None:
    told = capacity.noise(part(Curve("queued", [Point(1, 5, 1, 1, spread=spread)])))
    assert says in told
    assert ("noisy" in told) == (spread > capacity.NOISY)


def test_a_part_replaces_what_stood_between_its_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- capacity nodes -->\nold\n<!-- end of nodes -->\nAfter.\n")
    found = part(Curve("queued", [Point(1, 5, 1, 1)]))

    capacity.write(page, found)
    once = page.read_text()
    capacity.write(page, found)

    assert page.read_text() == once
    assert once.startswith("Before.\n<!-- capacity nodes -->\nA handler that waits.\n")
    assert once.endswith("Measured on 2 processors.\n<!-- end of nodes -->\nAfter.\n")
    assert "old" not in once


def test_a_page_without_its_marks_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Nothing here.\n")
    with pytest.raises(NoMark):
        capacity.write(page, part(Curve("queued", [Point(1, 5, 1, 1)])))


def test_figures_that_are_kept_come_back_as_they_were(tmp_path: Path) -> None:
    found = part(Curve("queued", [Point(1, 5, 1, 1, {"cost": 2}, 0.1)]))
    assert capacity.table(Part.read(found.write(tmp_path))) == capacity.table(found)
    assert Part.read(found.write(tmp_path)).spread == 0.1

"""The picture of the README: some seconds of each column, and that they show what the README says they show."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from benchmarks.arrivals import Request, read_records
from benchmarks.compare import BASE_PER_S, SPIKE_PER_S, Timing, measure
from benchmarks.statistics import in_time
from tests.engine.system.system import ROOT, run_module

LIMIT_S = 90


@pytest.mark.locust
@pytest.mark.timeout(LIMIT_S + 5)
def test_the_same_spike_ends_one_and_is_carried_by_the_other(tmp_path: Path) -> None:
    ran = run_module("benchmarks.compare", "--short", "--directory", str(tmp_path), limit_s=LIMIT_S)

    # A busy machine makes the spike unsound (2), but not the difference.
    assert ran.returncode in (0, 2), ran.stdout + ran.stderr
    direct, queued = (_good(next(tmp_path.glob(f"*/{name}/requests.csv"))) for name in ("direct", "queued"))
    assert queued > 3 * direct
    (picture,) = tmp_path.glob("*/compare.png")
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert 1000 < width < 1300
    assert 500 < height < 700


def _good(rows: Path) -> int:
    """Return how many were answered in time, of what was sent from the spike on."""
    requests, _ = read_records(rows)
    return sum(in_time(request, 2) for request in requests if request.phase == 0 and request.intended_s > 2.5)


def test_metrics_count_goodput_by_the_answer_and_leave_out_how_it_settles() -> None:
    timing = Timing(before_s=8, spike_s=8, after_s=8)
    statuses = (200, 503, 504)
    requests = [
        Request(n, 0, "/report", intended_s=n / 10, done_s=n / 10 + (2.1, 0.01, 2.0)[n % 3], status=statuses[n % 3])
        for n in range(240)
    ]
    before, during, after = measure(requests, timing)
    assert [each.phase for each in (before, during, after)] == ["before", "spike", "after"]
    assert before.offered_per_s == pytest.approx(10)
    assert [before.goodput_per_s, before.refused_per_s, before.failed_per_s] == pytest.approx([0, 20 / 6, 40 / 6])


def test_the_readme_says_what_was_offered() -> None:
    readme = (ROOT / "README.md").read_text()
    for picture in re.findall(r"docs/images/[\w.-]+", readme):
        assert (ROOT / picture).stat().st_size <= 150_000
    assert SPIKE_PER_S == 5 * BASE_PER_S

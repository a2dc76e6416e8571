"""`make soak` itself, briefly; and that its account, which the tests of faults use too, sees what is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.arrivals import Request
from benchmarks.conservation import Load, account
from benchmarks.handlers.faults import TIMEOUT_S
from tests.engine.system.system import run_module


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_short_soak_loses_nothing_and_leaves_nothing() -> None:
    ended = run_module("benchmarks.soak", "--seconds", "14", "--seed", "7", limit_s=80)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "conservation: " in ended.stdout


def asked(method: str, status: int, took_s: float = 0.1, number: int = 1) -> Request:
    now_s = time.monotonic()
    return Request(number, 0, "/x", method=method, status=status, intended_s=now_s - took_s, done_s=now_s)


ONE_RUN, TWO_RUNS = "S 1.0 7.1 1 4\nE 1.0 7.1 2 0\n", "S 1.0 7.1 1 4\nE 1.0 7.1 2 0\nS 1.0 8.1 1 4\nE 1.0 8.1 2 0\n"
CASES = {
    "an answer without a run": (asked("GET", 200), "", "no run of it has ended"),
    "a refusal that was run": (asked("POST", 503), ONE_RUN, "it was run"),
    "a POST that ran twice": (asked("POST", 200), TWO_RUNS, "2 starts"),
    "an answer that came late": (asked("GET", 504, TIMEOUT_S + 3), "", "after 7.0 s"),
    "a status that is not promised": (asked("GET", 500), "", "no answer that is promised"),
    "no answer": (asked("GET", 0), "", "no answer that is promised"),
    "no end": (Request(1, 0, "/x", intended_s=0), "", "never ended"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_breach_is_a_complaint(tmp_path: Path, case: str) -> None:
    request, noted, complaint = CASES[case]
    (tmp_path / "notes").write_text(noted)
    found = account(Load([request]), tmp_path / "notes")
    assert complaint in " ".join(found.complaints)


def test_what_is_as_promised_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text(TWO_RUNS)
    fine = [asked("GET", 200), asked("POST", 502, number=2), asked("GET", 503, number=3)]
    found = account(Load(fine), tmp_path / "notes")
    assert found.complaints == []
    assert found.counts == {"sent": 3, "answered": 1, "unknown": 1, "refused": 1}

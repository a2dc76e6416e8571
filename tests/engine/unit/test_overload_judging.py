"""How the overload run turns requests into metrics, and metrics into a verdict."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arrivals import Request, Stream, arrivals, read_records, write_records
from benchmarks.notes import Run, predictions, read
from benchmarks.overload_edges import Window, back_to_normal_s, cost_s
from benchmarks.overload_fairness import max_min
from benchmarks.overload_faults import leaver_metrics
from benchmarks.overload_plan import PROFILES, SAT, Phase, Timing, plan, streams
from benchmarks.sampler import Sample, over_limit
from benchmarks.statistics import ExitCode, Metric, Outcome, Soundness, breaches, jain, measure, spread, table
from floodgate.peak.statistics import percentile

DEADLINE_S = 2.0
SOUND = Soundness("block 1", achieved=1.0, lag_p99_s=0.001, generator_busy=0.2, sat_spread=0.01, sat_spread_limit=0.03)


def request(number: int, at_s: float, status: int = 200, took_s: float = 0.2, **more: object) -> Request:
    fields = {"intended_s": at_s, "sent_s": at_s, "done_s": at_s + took_s, "status": status, **more}
    return Request(number, at_s, "/", **fields)  # type: ignore[arg-type]


def test_a_block_has_a_saturating_phase_on_both_sides_of_every_peak() -> None:
    phases = plan(Timing(blocks=5))
    assert len(phases) == 5 * 8 + 1
    for phase in phases[1::2]:
        assert phases[phase.index - 1].factor == phases[phase.index + 1].factor == SAT


def test_the_order_of_the_peaks_rotates_from_block_to_block() -> None:
    phases = plan(Timing(blocks=3))
    orders = [[p.factor for p in phases if p.block == block and p.factor != SAT] for block in range(3)]
    assert orders == [[2, 5, 10, 0.5], [5, 10, 0.5, 2], [10, 0.5, 2, 5]]


def test_phases_follow_each_other_and_their_first_seconds_do_not_count() -> None:
    phases = plan(Timing(blocks=1))
    assert [phase.start_s for phase in phases[:3]] == [0, 20, 40]
    assert phases[1].counted_s == (24, 40)


def test_every_phase_offers_its_factor_of_the_capacity_and_the_same_probes() -> None:
    phases = plan(Timing(blocks=1))
    planned = streams(PROFILES["p1"], phases, ("/gate",))
    load = {stream.phase: stream.per_s for stream in planned if stream.kind == "load"}
    assert load[1] == 160
    assert load[5] == 800
    assert {stream.per_s for stream in planned if stream.kind == "probe"} == {40}


def test_a_percentile_is_the_nearest_rank() -> None:
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([5.0], 0.99) == 5
    assert math.isnan(percentile([], 0.5))


def test_goodput_counts_answers_by_the_moment_they_come() -> None:
    phases = [Phase(0, 0, SAT, 0, 10, 2), Phase(1, 0, 2.0, 10, 20, 2), Phase(2, 1, SAT, 20, 30, 2)]
    requests = [
        request(0, 1.9, took_s=0.2),  # comes when phase 0 counts already
        request(1, 9.9, took_s=0.2),  # comes in the first seconds of phase 1, which do not count
        request(2, 11.9, took_s=0.2, phase=1),
        request(3, 15.0, took_s=2.1, phase=1),  # late
        request(4, 15.0, status=503, phase=1),
    ]
    found = measure(phases, requests, DEADLINE_S, 0)
    assert [round(each.goodput_per_s * 8) for each in found] == [1, 1, 0]


def test_late_is_what_was_admitted_and_not_answered_well_in_time_from_the_onset_on() -> None:
    phases = [Phase(0, 0, SAT, 0, 10, 4)]
    requests = [
        request(0, 1, took_s=2.5),  # in the first seconds: counts all the same
        request(1, 5, status=504, took_s=2.0),
        request(2, 5, status=0),  # unanswered
        request(3, 5, status=500),
        request(4, 5, status=503),  # refused: kept no promise, since none was made
        request(5, 5, status=0, left=True),  # its client left
        request(6, 5),
    ]
    (found,) = measure(phases, requests, DEADLINE_S, 0)
    assert (found.late, found.admitted) == (4, 5)


def test_a_run_that_began_later_is_measured_alike() -> None:
    phases = [Phase(0, 0, SAT, 0, 10, 4)]
    (found,) = measure(phases, [request(0, 1005.0)], DEADLINE_S, 1000)
    assert (found.offered_per_s * 6, found.goodput_per_s * 6) == (1, 1)


@pytest.mark.parametrize(
    ("values", "met"),
    [
        ((0.99, 0.99, 0.99, 0.99, 0.99), True),
        ((0.99, 0.99, 0.99, 0.99, 0.90), True),
        ((0.99, 0.99, 0.99, 0.90, 0.90), False),
        ((0.90, 0.90, 0.90, 0.99, 0.99), False),
        ((0.99,), True),
        ((0.90,), False),
        ((math.nan, 0.99, 0.99, 0.99, 0.99), True),
        ((math.nan, math.nan, 0.99, 0.99, 0.99), False),
        ((), False),
    ],
)
def test_a_goal_is_met_by_the_median_and_four_of_five(values: tuple[float, ...], met: bool) -> None:
    assert Metric("goodput", values, at_least=0.98).is_met() is met


def test_an_exact_goal_is_met_by_every_value_or_not_at_all() -> None:
    assert Metric("leaks", (0, 0, 0, 0, 0), at_most=0, exact=True).is_met()
    assert not Metric("leaks", (0, 0, 0, 0, 1), at_most=0, exact=True).is_met()


def test_a_metric_without_a_goal_is_reported_and_not_judged() -> None:
    outcome = Outcome([Metric("refused at 0.5×", (0.9,))], [])
    assert outcome.exit_code is ExitCode.PASSED
    assert table(outcome.metrics).splitlines()[2].split("|")[3:5] == [" " * 6, " " * 8]


def test_one_goal_that_is_not_met_fails_the_run() -> None:
    lines = [Metric("good", (1.0,), at_least=0.5), Metric("bad", (1.0,), at_most=0.5)]
    assert Outcome(lines, []).exit_code is ExitCode.FAILED


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"achieved": 0.97}, "of the intended load"),
        ({"lag_p99_s": 0.011}, "schedule lag"),
        ({"generator_busy": 0.86}, "of its core"),
        ({"sat_spread": 0.031}, "saturating phases differ"),
        ({"lag_p99_s": math.nan}, "schedule lag"),
    ],
)
def test_an_unsound_measurement_is_invalid_and_not_failed(change: dict[str, Any], complaint: str) -> None:
    complaints = replace(SOUND, **change).complaints()
    assert [complaint in text for text in complaints] == [True]
    failing = [Metric("bad", (1.0,), at_most=0.5)]
    assert Outcome(failing, complaints).exit_code is ExitCode.INVALID


def test_a_sound_measurement_has_nothing_to_complain_of() -> None:
    assert SOUND.complaints() == []


def test_the_spread_is_the_difference_as_a_share_of_the_mean() -> None:
    assert spread([79.0, 80.0, 81.0]) == pytest.approx(0.025)


def test_the_table_prints_every_value_the_median_and_the_word() -> None:
    text = table([Metric("goodput at 2×", (0.99, 0.97, 0.5, 1.0, 0.98), at_least=0.98, unit="")])
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")]
    assert cells[2:6] == ["0.98", "≥ 0.98", "FAIL", "0.99 0.97 0.5 1 0.98"]


def test_a_sound_system_has_no_breaches() -> None:
    sent = [request(0, 0), request(1, 0, status=503), request(2, 0, status=504, took_s=2.0)]
    found = breaches(sent, [Run("0.0", 0.0, 2.0, 0.2), Run("2.0", 1.9, 0.1, 2.0)], 0)
    assert (found.unanswered, found.answered_twice, found.started_late, found.ran_refused) == (0, 0, 0, 0)
    assert found.ran_not_once == 0


def test_a_handler_that_starts_after_its_client_had_the_answer_started_late() -> None:
    sent = [request(0, 0, status=504, took_s=2.0)]
    assert breaches(sent, [Run("0.0", 2.015, 0.01)], 0).started_late == 1
    assert breaches(sent, [Run("0.0", 2.005, 0.01)], 0).started_late == 0  # as far as two clocks may differ


def test_a_handler_that_starts_without_any_time_left_started_late_although_nobody_was_answered() -> None:
    gone = [request(0, 0, status=0, took_s=1.0, left=True)]
    assert breaches(gone, [Run("0.0", 2.1, 0.0)], 0).started_late == 1
    assert breaches(gone, [Run("0.0", 1.1, 0.9)], 0).started_late == 0  # word of its leaving takes a moment


def test_a_refused_request_whose_handler_ran_is_a_breach() -> None:
    assert breaches([request(0, 0, status=503)], [Run("0.0", 0, 1)], 0).ran_refused == 1


@pytest.mark.parametrize("runs", [[], [Run("0.0", 0, 2), Run("0.0", 0.1, 1.9)]])
def test_an_answer_comes_from_exactly_one_run(runs: list[Run]) -> None:
    assert breaches([request(0, 0)], runs, 0).ran_not_once == 1


def test_a_request_that_nobody_answered_is_a_breach_unless_its_client_left() -> None:
    sent = [request(0, 0, status=0), request(1, 0, status=0, left=True)]
    assert breaches(sent, [], 0).unanswered == 1


def test_more_in_flight_than_the_limit_is_seen() -> None:
    assert over_limit([Sample(0, "r", 24, 16, 24), Sample(0, "r", 25, 16, 24)]) == 1


def test_jains_index_is_one_for_equals_and_one_nth_for_one_who_has_it_all() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_max_min_shares_give_the_modest_what_they_ask_and_split_the_rest() -> None:
    assert max_min(Counter({"a": 10, "b": 20, "noisy": 200}), 80) == {"a": 10, "b": 20, "noisy": 50}
    assert max_min(Counter({"a": 100, "b": 100}), 80) == {"a": 40, "b": 40}


def test_work_for_clients_that_left_is_a_share_of_all_busy_time() -> None:
    left = request(0, 0, status=0, took_s=0.1, left=True)
    runs = [Run("0.0", 0.5, 1.5, 0.7), Run("1.0", 0.0, 2.0, 0.2)]
    share, wasted, stubborn = leaver_metrics([left, request(1, 0)], runs)
    assert (share.values, stubborn.values) == ((0.5,), (0,))
    assert wasted.median == pytest.approx(0.5)


def test_a_handler_that_goes_on_without_its_client_is_counted() -> None:
    left = request(0, 0, status=0, took_s=0.1, left=True)
    assert leaver_metrics([left], [Run("0.0", 0.05, 1.9, 1.7)])[2].values == (1,)
    assert leaver_metrics([left], [Run("0.0", 0.05, 1.9)])[2].values == (1,)


def test_the_system_is_back_when_no_window_is_slow_or_refusing_any_more() -> None:
    steady = arrivals([Stream("after", "/", 40, 10, 10)], 1)
    for each in steady:
        each.status, each.intended_s = 200, each.at_s
        each.done_s = each.at_s + (0.9 if each.at_s < 10.7 else 0.2)
    assert 0.6 < back_to_normal_s(steady, 10, 10, 0.3) <= 0.8
    next(each for each in steady if each.at_s > 12).status = 503
    assert back_to_normal_s(steady, 10, 10, 0.3) == pytest.approx(2.1, abs=0.15)


def test_what_is_admitted_in_both_windows_is_not_charged_to_refusals() -> None:
    few = Window(cpu_s=2.0, sent=1000, refused=200)
    assert cost_s(few, Window(cpu_s=3.0, sent=6000, refused=5200)) == pytest.approx(0.0002)


def test_a_route_that_refuses_nothing_costs_what_its_further_requests_cost() -> None:
    assert cost_s(Window(1.0, sent=1000, refused=0), Window(2.0, sent=6000, refused=0)) == pytest.approx(0.0002)


def test_a_prediction_is_found_in_an_answers_header_or_in_the_gateways_log(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("S 0.0 1.1 100.300 1.7\nS 1.0 1.1 100.400 1.6\nS 2.0 1.1 100.500 1.5\n")
    (tmp_path / "gateway.log").write_text('{"event": "request", "request_id": "1.0", "predicted_ms": 350}\n')
    sent = [request(0, 0, predicted_ms=250.0), request(1, 0), request(2, 0)]
    waits = list(predictions(tmp_path, sent, origin_s=100))
    assert [predicted for predicted, _ in waits] == [250, 350]
    assert [round(real) for _, real in waits] == [300, 400]


def test_a_client_that_left_has_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("S 0.0 1.1 100.300 1.7\n")
    (tmp_path / "gateway.log").write_text('{"request_id": "0.0", "outcome": "left", "predicted_ms": 0}\n')
    assert list(predictions(tmp_path, [request(0, 0, status=0, left=True)], origin_s=100)) == []


def test_notes_tell_start_and_end_of_every_run_and_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("S 0.0 7.1 1.0 2.0\nS 0.0 8.2 1.5 1.5\nE 0.0 8.2 1.7 0.0\nS 1.0 7.1 1.")
    runs = read(notes)
    assert [(run.request_id, run.started_s) for run in runs] == [("0.0", 1.0), ("0.0", 1.5)]
    assert math.isnan(runs[0].ended_s)
    assert runs[1].busy_s == pytest.approx(0.2)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    sent = [request(3, 101.0, status=503, reason="Too busy", retry_after_s=2.0), request(4, 102.0, status=0, left=True)]
    write_records(tmp_path / "rows.csv", sent, 100.0)
    rows, origin_s = read_records(tmp_path / "rows.csv")
    assert origin_s == 100
    assert [(r.id, r.intended_s, r.status, r.reason, r.left) for r in rows] == [
        ("3.0", 1.0, 503, "Too busy", False),
        ("4.0", 2.0, 0, "", True),
    ]

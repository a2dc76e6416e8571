"""The parts of `make peak` that are pure: shapes, plans, rows, outcomes, the pace, thresholds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from floodgate.peak import thresholds
from floodgate.peak.plan import BadPlan, Plan, plan
from floodgate.peak.records import Asked, Row, Tail, Writer, note_asked, read, read_asked
from floodgate.peak.sampling import QueueSample, parse
from floodgate.peak.shapes import SHAPES, TIMES
from floodgate.peak.statistics import Outcome, Rule, by_route, judged, pace, route_statistics
from floodgate.peak.thresholds import BadThresholds, Bounds, Thresholds

HOUR = [at / 3600 for at in range(3600)]


def row(status: int = 200, latency_s: float = 0.1, at_s: float = 0.0, **more: object) -> Row:
    told = {"route": "GET /", "paced": True, "retry_after": False} | more
    return Row(at_s, at_s, at_s + latency_s, status=status, **told)  # type: ignore[arg-type]


def streamed(first_s: float, end_s: float, **more: object) -> Row:
    return row(latency_s=end_s, first_s=first_s, **more)  # type: ignore[arg-type]


def refusal(at_s: float = 0.0, latency_s: float = 0.002) -> Row:
    return row(503, latency_s, at_s, retry_after=True)


class TestShapes:
    def test_steady_is_the_base_and_all_others_reach_five_times_that(self) -> None:
        highest = {name: max(map(shape, HOUR)) for name, shape in SHAPES.items()}
        assert highest.pop("steady") == 1
        assert highest == pytest.approx(dict.fromkeys(highest, TIMES), abs=1e-4)

    def test_a_peak_warms_up_holds_and_leaves_time_to_recover(self) -> None:
        peak = SHAPES["peak"]
        assert [peak(at) for at in (0, 0.2, 0.3, 0.59, 0.61, 0.99)] == [0.5, 1, 5, 5, 1, 1]

    def test_steps_go_up_one_by_one(self) -> None:
        assert [SHAPES["step"](at) for at in (0, 0.19, 0.21, 0.5, 0.7, 0.99, 1.0)] == [1, 1, 2, 3, 4, 5, 5]


class TestPlan:
    def test_there_are_as_many_users_as_requests_in_the_slowest_answer(self) -> None:
        made = plan({"RPS": "20"}, worst_s=11)
        assert (made.users, made.period_s, made.shape) == (220, 11, "peak")

    def test_a_rate_follows_from_the_users(self) -> None:
        assert plan({"USERS": "220"}, worst_s=11).per_s == 20

    def test_both_may_be_given(self) -> None:
        made = plan({"USERS": "100", "RPS": "50", "SHAPE": "wave", "SECONDS": "9", "PROCESSES": "2"}, worst_s=11)
        assert (made.period_s, made.shape, made.seconds, made.processes) == (2, "wave", 9, 2)

    def test_the_host_is_that_of_make_dev_unless_it_is_named(self) -> None:
        assert plan({}, 1).host == "http://127.0.0.1:8000"
        assert plan({"GATEWAY_PORT": "81"}, 1).host == "http://127.0.0.1:81"
        assert plan({"HOST": "shop.example/"}, 1).host == "http://shop.example"

    @pytest.mark.parametrize(
        ("name", "value"), [("SHAPE", "flat"), ("RPS", "many"), ("RPS", "0"), ("SECONDS", "nan"), ("USERS", "1.5")]
    )
    def test_what_makes_no_sense_is_named(self, name: str, value: str) -> None:
        with pytest.raises(BadPlan, match=f"{name}={value}"):
            plan({name: value}, 1)

    def test_users_follow_the_shape_and_leave_at_the_end(self) -> None:
        made = Plan("", "spike", 10, 100, 10)
        assert [made.users_at(at_s) for at_s in (-0.1, 0, 4.5, 9.9, 10, -math.inf)] == [0, 100, 500, 100, 0, 0]
        assert made.most_users == 500

    def test_every_process_reads_the_same_plan(self, tmp_path: Path) -> None:
        made = Plan("http://a", "spike", 10, 100, 10)
        assert Plan.read(made.write(tmp_path)) == made


class TestRows:
    def test_come_back_in_the_order_of_their_turns(self, tmp_path: Path) -> None:
        rows = [streamed(2.25, 1, at_s=2), refusal(at_s=1), row(0, error='odd, "quoted"', route="GET /ä")]
        writer = Writer(tmp_path)
        for each in rows:
            writer.add(each)
        writer.close()
        assert read(tmp_path) == rows[::-1]

    def test_are_read_once_each_while_they_are_written(self, tmp_path: Path) -> None:
        writer, tail = Writer(tmp_path), Tail(tmp_path)
        assert tail.new() == []
        for number in range(3):
            writer.add(row(at_s=number))
            writer.flush()
            assert [each.due_s for each in tail.new()] == [number]
        writer.close()
        (file,) = tmp_path.iterdir()
        with file.open("a") as half:
            half.write("9.0,9.0")
        assert tail.new() == []

    def test_tell_what_was_asked_for(self, tmp_path: Path) -> None:
        assert read_asked(tmp_path) == []
        for asked in (Asked(1.5, 10), Asked(2.5, 0)):
            note_asked(tmp_path, asked)
        assert read_asked(tmp_path) == [Asked(1.5, 10), Asked(2.5, 0)]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("seen", "outcome"),
        [
            (row(200, 0.5), Outcome.GOOD),
            (row(204), Outcome.GOOD),
            (row(307), Outcome.GOOD),
            (row(409), Outcome.GOOD),
            (row(200, 1.5), Outcome.LATE),
            (row(504, 1.0), Outcome.LATE),
            (refusal(), Outcome.REFUSED),
            (row(429, retry_after=True), Outcome.REFUSED),
            (row(503), Outcome.ERROR),
            (row(500), Outcome.ERROR),
            (row(502), Outcome.ERROR),
            (row(404), Outcome.ERROR),
            (row(422), Outcome.ERROR),
            (row(0, error="reset"), Outcome.ERROR),
        ],
    )
    def test_a_refusal_is_no_failure_and_a_late_answer_is(self, seen: Row, outcome: Outcome) -> None:
        assert Rule(deadline_s=1.0, expected=frozenset({409})).outcome(seen) is outcome

    def test_latency_counts_from_the_turn_not_from_the_sending(self) -> None:
        assert Row(1.0, 3.0, 3.1, "GET /", 200, True, False).latency_s == pytest.approx(2.1)

    def test_a_stream_is_late_by_its_first_item_or_by_its_end(self) -> None:
        rule = Rule(deadline_s=1.0, stream_s=5.0)
        assert rule.outcome(streamed(0.9, 4.9)) is Outcome.GOOD
        assert rule.outcome(streamed(1.1, 4.9)) is Outcome.LATE
        assert rule.outcome(streamed(0.9, 5.1)) is Outcome.LATE
        assert Rule(deadline_s=1.0).outcome(streamed(0.9, 500)) is Outcome.GOOD
        assert rule.outcome(streamed(0.9, 2, status=0, error="cut")) is Outcome.ERROR

    def test_of_streams_the_first_item_is_the_latency_and_the_end_is_told_beside_it(self) -> None:
        rows = [*(streamed(0.1, 2) for _ in range(9)), streamed(0.1, 3), row(latency_s=0.1)]
        rows += [streamed(0.1, 9, status=0, error="cut")]
        found = route_statistics("GET /", judged(rows, lambda _: Rule(1)), seconds=10)
        assert (found.good, found.errors) == (11, 1)
        assert [found.admitted_p99_s, found.end_p50_s, found.end_p99_s] == pytest.approx([0.1, 2, 3])
        assert math.isnan(route_statistics("GET /", judged([row()], lambda _: Rule(1)), 1).end_p99_s)

    def test_the_figures_of_the_admitted_and_of_the_refused_are_apart(self) -> None:
        rows = [*(row(latency_s=ms / 1000) for ms in range(100, 200)), *(refusal() for _ in range(100)), row(504, 1)]
        found = route_statistics("GET /", judged(rows, lambda _: Rule(1)), seconds=10)
        assert (found.offered, found.good, found.refused, found.late, found.errors) == (201, 100, 100, 1, 0)
        assert [found.admitted_p50_s, found.refusal_p99_s] == pytest.approx([0.15, 0.002])
        assert (found.goodput_per_s, found.late_share) == (10, 1 / 101)

    def test_routes_are_kept_apart(self) -> None:
        rows = [row(route="GET /b"), row(500, route="GET /a"), row(route="GET /b")]
        found = by_route(judged(rows, lambda _: Rule(1)), 1)
        assert [(each.route, each.good, each.errors) for each in found] == [("GET /a", 0, 1), ("GET /b", 2, 0)]


class TestPace:
    def test_compares_turns_taken_with_turns_wanted_over_all_and_at_the_top(self) -> None:
        asked = [Asked(0, 100), Asked(10, 500), Asked(20, 0)]
        rows = [row(at_s=at / 10) for at in range(100)] + [row(at_s=10 + at / 40) for at in range(400)]
        found = pace(asked, rows, period_s=10)
        assert (found.asked_per_s, found.top_per_s) == (30, 50)
        assert (found.achieved, found.top_achieved, found.least) == (500 / 600, 0.8, 0.8)

    def test_a_short_top_is_not_judged_alone(self) -> None:
        asked = [Asked(0, 100), Asked(10, 500), Asked(11, 0)]
        rows = [row(at_s=at / 10) for at in range(100)] + [row(at_s=10 + at / 40) for at in range(40)]
        found = pace(asked, rows, period_s=10)
        assert math.isnan(found.top_achieved)
        assert found.least == 140 / 150

    def test_later_requests_of_a_task_are_no_turns(self) -> None:
        asked, rows = [Asked(0, 1), Asked(2, 0)], [row(at_s=0), row(at_s=0.5, paced=False), row(at_s=1)]
        assert pace(asked, rows, period_s=1).achieved == 1


class TestThresholds:
    def wanted(self, tmp_path: Path, text: str) -> Thresholds:
        file = tmp_path / "thresholds.toml"
        file.write_text(text)
        return thresholds.load(file)

    def test_a_routes_own_table_overrides_the_default_and_the_last_that_fits_wins(self, tmp_path: Path) -> None:
        found = self.wanted(
            tmp_path,
            '[default]\ndeadline_s = 5\nmax_error_share = 0\n["GET /r/*"]\ndeadline_s = 30\n'
            '["GET /r/{id}"]\nexpected = [404]\n',
        )
        assert found.of("GET /") == Bounds(deadline_s=5, max_error_share=0)
        assert found.of("GET /r/{id}") == Bounds(deadline_s=30, max_error_share=0, expected=(404,))
        assert found.longest_deadline_s == 30

    def test_users_are_reckoned_for_the_longest_stream(self, tmp_path: Path) -> None:
        found = self.wanted(tmp_path, '[default]\ndeadline_s = 5\n["GET /s"]\nstream_s = 25\n')
        assert found.longest_deadline_s == 25
        assert found.of("GET /s").rule == Rule(5, frozenset(), 25)

    @pytest.mark.parametrize(
        ("bound", "breaks"),
        [
            ("min_goodput_share = 0.5", True),
            ("min_goodput_share = 0.4", False),
            ("min_goodput_per_s = 5", True),
            ("max_refused_share = 0.3", True),
            ("max_refused_share = 0.4", False),
            ("max_refusal_p99_s = 0.001", True),
            ("max_refusal_p99_s = 0.01", False),
            ("max_admitted_p99_s = 0.05", True),
            ("max_late_share = 0.1", True),
            ("max_late_share = 0.2", False),
            ("max_error_share = 0", True),
            ("max_end_p99_s = 1", True),
            ("max_end_p99_s = 3", False),
        ],
    )
    def test_each_bound_turns_red_when_it_should(self, tmp_path: Path, bound: str, breaks: bool) -> None:
        found = self.wanted(tmp_path, f"[default]\n{bound}\n")
        rows = [*[row()] * 3, streamed(0.1, 2), *[refusal()] * 4, row(504), row(500)]
        routes = by_route(judged(rows, lambda route: found.of(route).rule), 1)
        assert len(found.breaches(routes, route_statistics("all", [], 1))) == breaks

    def test_a_breach_names_route_figure_value_and_bound(self, tmp_path: Path) -> None:
        found = self.wanted(tmp_path, "[total]\nmax_late_share = 0.001\n")
        total = route_statistics("all routes", judged([row(), row(504)], lambda _: Rule(1)), 1)
        assert found.breaches([], total) == ["all routes: late_share is 0.5, at most 0.001 is wanted"]

    def test_what_was_not_measured_breaks_nothing(self, tmp_path: Path) -> None:
        found = self.wanted(tmp_path, "[default]\nmax_refusal_p99_s = 0\n")
        assert found.breaches(by_route(judged([row()], lambda _: Rule(1)), 1), route_statistics("all", [], 1)) == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[default]\nmax_late = 1\n", "max_late is none of"),
            ('["GET /"]\nmax_late_share = "low"\n', "'low' is no number"),
            ("[default]\nexpected = 404\n", "no list of statuses"),
            ("deadline_s = 3\n", "stands in no table"),
            ("[default\n", "thresholds.toml: "),
        ],
    )
    def test_a_mistake_in_the_file_is_named(self, tmp_path: Path, text: str, says: str) -> None:
        with pytest.raises(BadThresholds, match=says):
            self.wanted(tmp_path, text)

    def test_the_file_that_ships_is_sound(self) -> None:
        shipped = thresholds.load()
        assert shipped.of("POST /orders").deadline_s == shipped.longest_deadline_s == 20
        assert shipped.total.min_goodput_share == pytest.approx(1 / TIMES)


def test_the_queue_is_read_from_prometheus_text_by_route() -> None:
    text = """# HELP floodgate_waiting Requests that wait.
# TYPE floodgate_waiting gauge
floodgate_waiting{method="GET",route="/"} 3
floodgate_waiting{method="POST",route="/{\\"a\\"}"} 2.0
floodgate_running{method="GET",route="/"} 16
floodgate_limit{method="GET",route="/"} 1e+03
floodgate_parked{method="GET",route="/"} 9
floodgate_waiting 7
"""
    assert parse(text, 5.0) == [QueueSample(5.0, "GET /", 3, 16, 1000), QueueSample(5.0, 'POST /{\\"a\\"}', 2, 0, 0)]

"""The text that scrapers read: our writer against the parser of `prometheus_client`, with hostile names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from floodgate.operations.metrics import Metric, Snapshot
from floodgate.operations.metrics_page import texts

COUNT = Metric("floodgate_count_total", "counter", 'A help with "quotes", a \\ and\na line.', ("route", "reason"))
TOOK = Metric("floodgate_took_seconds", "histogram", "Took.", ("route",), (0.001, 0.5, 1.0, 10.0))
BARE = Metric("floodgate_bare_seconds", "histogram", "Bare.", (), (0.5,))
UP = Metric("floodgate_up", "gauge", "Up.")

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def parsed(snapshot: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = b"".join(texts(snapshot)).decode()
    assert text.endswith("\n")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(NAMES, NAMES, st.floats(0, 1e15))
def test_a_hostile_route_is_read_as_it_was_written(route: str, reason: str, value: float) -> None:
    snapshot = Snapshot()
    snapshot.put(COUNT, (route, reason), [value])
    found = parsed(snapshot)
    assert found == {(COUNT.name, frozenset({("route", route), ("reason", reason)})): value}


def test_half_a_character_does_not_end_a_scrape() -> None:
    snapshot = Snapshot()
    snapshot.put(COUNT, ("/\ud800", "x"), [1])
    assert [*parsed(snapshot).values()] == [1]


def test_buckets_are_added_up_and_end_with_the_count() -> None:
    snapshot = Snapshot()
    snapshot.put(TOOK, ("/a",), [1, 0, 2, 0, 4, 30.25])
    found = {(name, dict(labels).get("le")): value for (name, labels), value in parsed(snapshot).items()}
    buckets = {"0.001": 1, "0.5": 1, "1": 3, "10": 3, "+Inf": 7}
    expected = {("floodgate_took_seconds_bucket", le): count for le, count in buckets.items()}
    assert found == expected | {("floodgate_took_seconds_sum", None): 30.25, ("floodgate_took_seconds_count", None): 7}


def test_every_metric_stands_once_with_its_kind_and_its_help() -> None:
    snapshot = Snapshot()
    for route in ("/a", "/b"):
        snapshot.put(COUNT, (route, "full"), [1])
        snapshot.put(TOOK, (route,), [0, 0, 0, 0, 0, 0])
    snapshot.put(BARE, (), [1, 1, 3.5])
    snapshot.put(UP, (), [True])
    text = b"".join(texts(snapshot)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: family.type for name, family in families.items()} == {
        "floodgate_count": "counter",
        "floodgate_took_seconds": "histogram",
        "floodgate_bare_seconds": "histogram",
        "floodgate_up": "gauge",
    }
    assert families["floodgate_count"].documentation == COUNT.help
    assert [piece.count(b"# TYPE") for piece in texts(snapshot)] == [1] * 4, "the event loop has a turn after each"
    assert "floodgate_up 1\n" in text

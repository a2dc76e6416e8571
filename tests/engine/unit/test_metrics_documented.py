"""The table of metrics, the rules and the code speak of the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from floodgate.gateway import metrics as gateway_metrics
from floodgate.gateway import queue_metrics
from floodgate.operations import metrics
from floodgate.operations.metrics import Metric
from floodgate.worker import metrics as worker_metrics

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
ROW = re.compile(r"^\| `(floodgate_\w+)` \| (\w+) \| (\w+) \|([^|]*)\|", re.MULTILINE)
MODULES = {"gateway": (gateway_metrics, queue_metrics), "worker": (worker_metrics,), "both": (metrics,)}


def declared() -> dict[str, tuple[str, str, str]]:
    """Return name to app, kind and labels of every metric in the code."""
    found: dict[str, tuple[str, str, str]] = {}
    for app, modules in MODULES.items():
        for metric in (value for module in modules for value in vars(module).values() if isinstance(value, Metric)):
            found[metric.name] = (app, metric.kind, ", ".join(metric.labels))
    return found


def test_every_metric_is_in_the_table_and_every_row_is_a_metric() -> None:
    rows = {name: (app, kind, labels.strip()) for name, app, kind, labels in ROW.findall(_text("docs/metrics.md"))}
    assert rows == declared()


GATEWAY_VALUES = [*gateway_metrics.OUTCOMES.values(), *(failure.label for failure in gateway_metrics.REFUSALS)]


@pytest.mark.parametrize("values", [GATEWAY_VALUES, worker_metrics.OUTCOMES])
def test_every_value_of_a_label_is_in_the_table(values: list[str]) -> None:
    text = _text("docs/metrics.md")
    assert [value for value in values if value not in text] == []


def test_names_say_what_they_count_as_prometheus_wants_it() -> None:
    for name, (_, kind, _) in declared().items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert kind != "histogram" or name.endswith(("_seconds", "_tasks")), name


def test_rules_ask_for_metrics_that_exist_and_for_what_is_recorded() -> None:
    rules = _text("deploy/prometheus/recording.yml") + _text("deploy/prometheus/alerts.yml")
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<![\w:])floodgate_\w+", rules)}
    assert asked - set(declared()) == set()
    recorded = set(re.findall(r"record: (\S+)", rules))
    used = set(re.findall(r"\b\w+:floodgate_\w+:\w+", rules + _text("docs/metrics.md")))
    assert used - recorded == set()


def test_every_alert_is_seen_both_to_fire_and_to_be_silent_and_has_a_first_look() -> None:
    tests, document = _text("deploy/prometheus/tests.yml"), _text("docs/metrics.md")
    alerts = re.findall(r"alert: (\w+)", _text("deploy/prometheus/alerts.yml"))
    assert len(alerts) > 5
    for alert in alerts:
        assert re.search(rf"\{{alertname: {alert}, ", tests), alert
        assert re.search(rf"alertname: {alert}\n\s+eval_time: \S+\n\s+exp_alerts:", tests), alert
        assert re.search(rf"^\|[^|]*\b{alert}\b", document, re.MULTILINE), alert


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")

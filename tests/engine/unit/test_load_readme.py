"""loadtest/README.md: what it names is there, and what it shows works as written."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from floodgate.peak import thresholds
from floodgate.peak.openapi import Operation
from floodgate.peak.plan import DEFAULT_PER_S, DEFAULT_S, plan
from floodgate.peak.shapes import SHAPES
from floodgate.peak.thresholds import Bounds
from loadtest import scenarios

ROOT = Path(__file__).parents[3]
README = (ROOT / "loadtest/README.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_make_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ |`[A-Z =\w]+ )make ([a-z-]+)", README, re.MULTILINE))
    assert {"peak", "peak-ui", "compare", "capacity", "overload"} <= named <= targets


def test_it_lists_the_shapes_that_there_are() -> None:
    table = README.partition("| shape | |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(SHAPES)


def test_the_defaults_of_a_run_are_those_that_it_says() -> None:
    said = dict(re.findall(r"^\| `([A-Z]+)` \| (\S+) \|", README, re.MULTILINE))
    assert (float(said["RPS"]), float(said["SECONDS"]), said["PROCESSES"]) == (DEFAULT_PER_S, DEFAULT_S, "1")
    asked = plan({}, worst_s=11)
    assert (asked.shape, asked.users) == (said["SHAPE"], DEFAULT_PER_S * 11)


def test_its_thresholds_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text(block("toml"))
    found = thresholds.load(file)
    assert found.of("POST /orders").deadline_s == found.longest_deadline_s == 20
    assert found.total.min_goodput_share == pytest.approx(0.2)


def test_the_head_of_the_thresholds_lists_every_bound() -> None:
    head = (ROOT / thresholds.FILE).read_text()
    listed = re.findall(r"^#   (\w+) ", head, re.MULTILINE)
    assert set(listed) == {bound.name for bound in fields(Bounds)}
    assert set(tomllib.loads(head)) >= {"default", "total"}


def test_its_scenario_runs_and_asks_for_what_it_says() -> None:
    module: dict[str, Any] = {}
    exec(compile(block("python"), "scenarios.py", "exec"), module)
    asked: list[str] = []

    def ask(method: str, path: str, **more: Any) -> SimpleNamespace:
        asked.append(str(more.get("route", f"{method} {path}")))
        return SimpleNamespace(status_code=200, json=lambda: {"id": 7})

    weights = module["tasks"]([Operation("GET", "/items")])
    for task in weights:
        task(SimpleNamespace(ask=ask))

    assert list(weights.values()) == [20, 1]
    assert asked == ["GET /items", "POST /orders", "GET /orders/{id}"]


def test_the_scenarios_that_ship_ask_for_everything_but_what_is_skipped() -> None:
    operations = [Operation("GET", "/a"), Operation("GET", "/tasks/{task_id}"), Operation("POST", "/b")]
    assert scenarios.tasks(operations) == {operations[0]: 1, operations[2]: 1}

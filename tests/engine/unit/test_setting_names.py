"""Every setting is named where it is looked for, with one default; the times of a leaving gateway fit the balancer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from floodgate.operations.environment import variable
from floodgate.operations.settings import Settings
from floodgate.run.containers import SLOTS, warn_of_old_names

ROOT = Path(__file__).parents[3]
FILE = (ROOT / "docker-compose.yml").read_text()
CONDITION = r"\$\{([A-Z_]+):\+(?:[^{}]|\$\{[^}]*\})*\}"
CONDITIONS = set(re.findall(CONDITION, FILE))
FILE = re.sub(CONDITION, "", FILE)
COMPOSE = re.sub(r"^\s*#.*$", "", FILE, flags=re.MULTILINE)
EXAMPLE = (ROOT / ".env.example").read_text()
HAPROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
OTHERS = re.compile(r"(\$\{[A-Z_]+:-)\$\{[A-Z_]+:-([^}]*)\}\}")
"""A default that is another variable, with the default of that one."""
DEFAULTS = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", OTHERS.sub(r"\1\2}", FILE)))
PASSED_ON = set(re.findall(r"^ {4,6}([A-Z_]+):$", COMPOSE, re.MULTILINE))
SHOWN = dict(re.findall(r"^#([A-Z_]+)=(\S*)", EXAMPLE, re.MULTILINE))
OWN = {"FLOODGATE_METRICS_DIR"}
NAMES = {variable(field): field for field in Settings.model_fields}
"""Each container's own affair."""


def number(pattern: str, text: str) -> float:
    (found,) = re.findall(pattern, text)
    return float(found)


def test_the_example_names_every_variable_of_the_compose_file_and_no_other() -> None:
    used = set(DEFAULTS) | PASSED_ON | set(re.findall(r"\$\{([A-Z_]+)-?\}", COMPOSE)) | CONDITIONS
    assert set(SHOWN) == (used | {"COMPOSE_PROFILES"}) - {"COMPOSE_PROJECT_NAME"}


def test_the_example_shows_the_defaults_of_the_compose_file() -> None:
    assert {name: SHOWN[name] for name in DEFAULTS} == DEFAULTS


def test_what_the_apps_have_by_default_is_shown_as_such() -> None:
    for name in PASSED_ON & set(NAMES):
        default = Settings.model_fields[NAMES[name]].default
        assert SHOWN[name] == (
            "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
        )


def test_every_setting_of_the_apps_reaches_their_containers() -> None:
    (block,) = re.findall(r"environment: &environment\n((?:    .*\n|\n)+)", COMPOSE)
    given = set(re.findall(r"^ {4}([A-Z_]+):", block, re.MULTILINE))
    assert set(NAMES) - OWN <= given


def test_the_default_times_of_leaving_stand_in_order() -> None:
    grace_s, drain_s, shutdown_delay_s = (
        float(DEFAULTS[f"FLOODGATE_{name}"]) for name in ("STOP_GRACE_S", "DRAIN_S", "SHUTDOWN_DELAY_S")
    )
    settings = Settings(drain_s=drain_s, shutdown_delay_s=shutdown_delay_s)
    assert grace_s > settings.graceful_timeout_s > drain_s > settings.timeout_s


def test_a_leaving_gateway_takes_requests_until_the_balancer_must_have_noticed() -> None:
    inter_s = number(r" inter (\d+)ms fastinter", HAPROXY) / 1000
    fast_s = number(r"fastinter (\d+)ms", HAPROXY) / 1000
    fall = number(r"fall (\d+)", HAPROXY)
    assert float(DEFAULTS["FLOODGATE_SHUTDOWN_DELAY_S"]) >= 2 * (inter_s + (fall - 1) * fast_s), (
        "as long again for a busy machine"
    )


def test_the_balancer_finds_the_gateways_by_dockers_dns() -> None:
    for line in ("nameserver docker 127.0.0.11:53", "accepted_payload_size 8192"):
        assert re.search(rf"^resolvers docker\n(?:    .*\n)*?    {re.escape(line)}\n", HAPROXY, re.MULTILINE)
    assert re.search(r"server-template gw \d+ gateway:8000 check resolvers docker .*init-addr none\n", HAPROXY)


def test_the_slots_of_the_balancer_are_as_many_as_make_scale_believes() -> None:
    assert number(r"server-template gw (\d+) ", HAPROXY) == SLOTS


@pytest.mark.parametrize("name", ["FLOODGATE_DRAIN_S", "FLOODGATE_STOP_GRACE_S", "START_S"])
def test_what_stands_before_a_unit_is_a_whole_number(name: str) -> None:
    assert DEFAULTS[name].isdigit()


def test_make_up_names_the_variables_that_are_set_under_an_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("DRAIN_S=20\nOPS_TOKEN=x\nGATEWAY_PORT=81\nLEASE_S=\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKER_PLACES", "3")
    warn_of_old_names(NAMES)
    assert sorted(line.partition("| ")[2] for line in capsys.readouterr().out.splitlines()) == [
        "DRAIN_S is not read: the name of the setting is FLOODGATE_DRAIN_S",
        "WORKER_PLACES is not read: the name of the setting is FLOODGATE_WORKER_CONCURRENCY",
    ]

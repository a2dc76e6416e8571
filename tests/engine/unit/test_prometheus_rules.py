"""Prometheus itself accepts the configuration, and the alerts fire when they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROMETHEUS = Path(__file__).parents[3] / "deploy/prometheus"
TOKEN_FILE = "/run/secrets/ops_token"

pytestmark = [
    pytest.mark.promtool,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]


def promtool(*arguments: str, directory: Path = PROMETHEUS) -> str:
    """Return what it says; fail with it when it finds a fault."""
    said = subprocess.run(
        ["promtool", *arguments], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


def test_the_configuration_is_sound_with_its_rules_and_the_token_of_the_apps(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-sixteen-or-more")
    for file in PROMETHEUS.glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        assert file.name != "prometheus.yml" or text.count(TOKEN_FILE) == 2
        (tmp_path / file.name).write_text(text.replace(TOKEN_FILE, str(token)), encoding="utf-8")
    said = promtool("check", "config", "prometheus.yml", directory=tmp_path)
    assert "2 rule files found" in said


def test_rules_and_alerts_do_as_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "tests.yml")

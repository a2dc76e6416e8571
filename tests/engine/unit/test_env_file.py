"""The operators' token: made once, for its owner's eyes, and never in place of one that is there."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from floodgate.run.env_file import PASSWORDS, TOKEN, keep_secrets


def test_without_a_file_one_is_made_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert keep_secrets(path, {}, [TOKEN])
    assert re.fullmatch(r"OPS_TOKEN=[\w-]{40,}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["WORKERS=8\n", "WORKERS=8", "#OPS_TOKEN=x\n", "OPS_TOKEN=\n", "OPS_TOKEN=\nA=8\n", "OPS_TOKEN=  # none\n"]
)
def test_a_file_without_a_token_keeps_what_it_has_and_gets_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".env"
    path.write_text(text)
    path.chmod(0o644)
    assert keep_secrets(path, {}, [TOKEN])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(re.escape(text.rstrip("\n")) + r"\nOPS_TOKEN=[\w-]{40,}\n", path.read_text())


@pytest.mark.parametrize("text", ["OPS_TOKEN=mine\n", " OPS_TOKEN = 'mine'\n", "A=1\nexport OPS_TOKEN=mine"])
def test_a_token_that_is_there_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".env"
    path.write_text(text)
    assert not keep_secrets(path, {}, [TOKEN])
    assert path.read_text() == text


def test_a_token_of_the_environment_is_written_nowhere(tmp_path: Path) -> None:
    assert not keep_secrets(tmp_path / ".env", {"OPS_TOKEN": "mine"}, [TOKEN])
    assert not (tmp_path / ".env").exists()


def test_only_what_is_missing_is_made_and_said(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("REDIS_PASSWORD=mine\n")
    assert keep_secrets(path, {}, [TOKEN, *PASSWORDS]) == [TOKEN, "REDIS_ADMIN_PASSWORD"]
    first, *made = path.read_text().splitlines()
    assert first == "REDIS_PASSWORD=mine"
    assert len({line.partition("=")[2] for line in made}) == 2
    assert keep_secrets(path, {}, [TOKEN, *PASSWORDS]) == []

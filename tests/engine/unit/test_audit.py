"""What `make audit` says: only what the database answered counts as audited."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from floodgate.run import audit
from floodgate.run.audit import CLEAN, NOT_AUDITED, VULNERABLE

GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3", "4"], "aliases": []}]}
UNKNOWN = {"name": "unheard", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def tool(code: str) -> Sequence[str]:
    return (sys.executable, "-c", code)


HANGING = tool("import time; time.sleep(60)")


def saying(*packages: Any) -> Sequence[str]:
    return tool(f"print({json.dumps(json.dumps({'dependencies': packages}))})")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (saying(GOOD), CLEAN, "1 packages audited, no known vulnerability"),
        (saying(GOOD, BAD), VULNERABLE, "VULNERABLE: bad 2: PYSEC-1, repaired in 3, 4"),
        (
            saying(GOOD, UNKNOWN),
            NOT_AUDITED,
            "NOT AUDITED: the database that answered has not 1 of 2 packages",
        ),
        (saying(BAD, UNKNOWN), VULNERABLE, "NOT AUDITED: the database that answered has not 1 of 2"),
        (saying(), NOT_AUDITED, "NOT AUDITED"),
        (
            tool("raise SystemExit('no network')"),
            NOT_AUDITED,
            "NOT AUDITED: no report (exit code 1): no network",
        ),
        (tool("print(3)"), NOT_AUDITED, "NOT AUDITED: no report"),
        (tool("print('[]')"), NOT_AUDITED, "NOT AUDITED: no report"),
        (("/nowhere/uv",), NOT_AUDITED, "NOT AUDITED: the tool did not run (FileNotFoundError)"),
        (HANGING, NOT_AUDITED, "NOT AUDITED: the tool did not run (TimeoutExpired)"),
    ],
    ids=["clean", "vulnerable", "unknown", "both", "empty", "refused", "no object", "no packages", "no tool", "hangs"],
)
def test_the_exit_code_and_the_words(
    command: Sequence[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit._print(Path("requirements/x.txt"), audit.ask(command, limit_s=1 if command == HANGING else 20)) == code
    assert f"requirements/x.txt: {words}" in capsys.readouterr().out


def test_one_vulnerable_file_decides_then_one_that_was_not_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    for answers, code in (((GOOD, BAD, UNKNOWN), 1), ((GOOD, UNKNOWN, GOOD), 2), ((GOOD, GOOD, GOOD), 0)):
        reports = iter([audit.read({"dependencies": [answer]}) for answer in answers])
        monkeypatch.setattr(audit, "ask", lambda _, reports=reports: next(reports))
        assert audit.audit() == code

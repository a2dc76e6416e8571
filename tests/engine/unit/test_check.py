"""The rules that `floodgate/run/check.py` holds the project to, each with a breach of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from floodgate.run.check import breaches_of

HEADER = '"""Owns nothing."""\n'


def breaches(name: str, text: str) -> str:
    return "\n".join(breaches_of(Path(name), text))


def test_a_short_module_with_a_header_is_fine() -> None:
    assert breaches("floodgate/broker/keys.py", HEADER + "import os\n\n\ndef f() -> str:\n    return os.sep\n") == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.py", HEADER + "x = 1\n" * 400, "401 lines"),
        ("a.py", HEADER + "def f() -> None:\n" + "    print()\n" * 60, "f has 61 lines"),
        ("a.py", "x = 1\n", "begins with two to six lines"),
        ("a.py", HEADER + "def f() -> None:\n    import os\n", "imports stand at the top"),
        ("a.txt", "see /ro" + "ot/x/y\n", "a.txt:1: names a path of one machine"),
        ("a.txt", "\n--index-url https://pyp" + "i.org/simple\n", "a.txt:2: names a package registry"),
    ],
)
def test_a_breach_is_named(name: str, text: str, said: str) -> None:
    assert said in breaches(name, text)

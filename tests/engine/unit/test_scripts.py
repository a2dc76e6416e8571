"""The scripts' text: includes, headers that say what is used, codes that Python mirrors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floodgate.broker import commands as calls
from floodgate.broker import dead_letters, results
from floodgate.broker import stream_commands as streams
from floodgate.broker.cancellation import cancel
from floodgate.broker.commands import AdmitCode
from floodgate.broker.idempotency import AdmitKey, recall
from floodgate.broker.keys import CATALOGUE, Keys
from floodgate.broker.repair import repair
from floodgate.broker.scripts import LUA, SCRIPTS, assemble

KEYS = Keys("shop")
HEADER = re.compile(r"^-- (KEYS|ARGV)\[([^\]]+)\]  \w", re.MULTILINE)
KIND = calls.AdmissionClass("r", "l", "r|8|", 8, 1000, 1000)
EXAMPLES: dict[str, Callable[[int, int], calls.Call[Any]]] = {
    "declare": lambda i, j: calls.declare(
        KEYS, started_ms=1, limits={str(n): (1, 0) for n in range(i)}, lanes=[str(n) for n in range(j)]
    ),
    "admit": lambda i, j: calls.admit(
        KEYS,
        valid_until_ms=1,
        requests=[
            calls.AdmitRequest(calls.AdmissionClass(f"r{min(n, i - 1)}", "l", "", 8, 1000, 1), "id", 1, b"")
            for n in range(j)
        ],
    ),
    "claim": lambda i, _: calls.claim(
        KEYS, valid_until_ms=1, consumer="c", serial=1, free=1, lease_ms=1, max_bytes=1, pool="p", lanes=["l"] * i
    ),
    "complete": lambda i, _: calls.complete(
        KEYS, [calls.Completion("l", "i", "r", "l", "f", "b", 1, 1, True, True, b"")] * i
    ),
    "emit": lambda i, _: streams.emit(KEYS, [streams.Emission("l", "i", "r", "b", 0, 0, b"")] * i),
    "acknowledge": lambda i, j: streams.acknowledge(KEYS, "p", {str(n): n for n in range(i)}, ["id"] * j),
    "renew": lambda i, j: calls.renew(
        KEYS, consumer="c", register_ms=1, lease_ms=1, lanes=["l"] * i, leases=[("r", "l")] * j
    ),
    "cancel": lambda i, _: cancel(KEYS, ["id"] * i),
    "release": lambda i, _: calls.release(KEYS, [calls.Released("l", "i", "r", True)] * i),
    "reclaim": lambda i, _: calls.reclaim(KEYS, consumer="c", last_serial=1, known=["l"] * i),
    "reap": lambda _i, _j: calls.reap(KEYS, lease_ms=1, period_ms=1),
    "repair": lambda i, _: repair(KEYS, period_ms=1, catalogue=CATALOGUE[:i]),
    "poll": lambda _i, _j: results.poll(KEYS, "id"),
    "recall": lambda _i, _j: recall(KEYS, "record"),
    "discard": lambda _i, _j: results.discard(KEYS, "id"),
    "letters": lambda _i, _j: dead_letters.read_letters(KEYS),
    "discard_letter": lambda _i, _j: dead_letters.discard_letter(KEYS, "1-1"),
}
"""A call of each script with so many of its repeated parts."""


def documented(name: str) -> list[tuple[str, str]]:
    return HEADER.findall((LUA / f"{name}.lua").read_text().partition("--- @include")[0])


def indexes(name: str, letter: str) -> list[str]:
    return [index for kind, index in documented(name) if kind == "ARGV" and index[0] == letter]


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_header_says_what_its_script_uses_and_nothing_else(name: str) -> None:
    code = re.sub(r"--.*", "", (LUA / f"{name}.lua").read_text())
    used = {("ARGV", index) for index in re.findall(r"ARGV\[([^\]]+)\]", code)} | {("KEYS", "1")}
    assert set(documented(name)) == used
    assert len(documented(name)) == len(used), "each once"
    assert set(re.findall(r"KEYS\[([^\]]+)\]", SCRIPTS[name].text.partition("@include")[2])) <= {"1"}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_python_sends_as_many_arguments_as_the_header_says(name: str) -> None:
    example = EXAMPLES[name]
    fixed = sum(index.isdigit() for kind, index in documented(name) if kind == "ARGV")
    for i, j in ((1, 1), (2, 2), (2, 3)):
        assert len(example(i, j).args) == fixed + i * len(indexes(name, "i")) + j * len(indexes(name, "j"))


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_a_script_has_a_header_and_no_long_line(path: Path) -> None:
    text = path.read_text()
    assert re.match(r"#!lua( flags=[a-z-]+)?\n-- [A-Z`2]" if path.parent == LUA else r"-- [A-Z`2]", text)
    assert path.parent != LUA or "\n-- Returns " in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_full_redis_refuses_admissions_and_nothing_else() -> None:
    flags = {name: script.text.partition("\n")[0].removeprefix("#!lua").strip() for name, script in SCRIPTS.items()}
    unlike = {name: flag for name, flag in flags.items() if flag != "flags=allow-oom"}
    assert unlike == {"admit": ""} | dict.fromkeys(("poll", "recall", "letters"), "flags=no-writes")


def test_what_is_told_of_a_key_is_what_the_header_says() -> None:
    key = AdmitKey("f", "inbox", window_s=1, retry_lost=False, async_response=False, full=False)
    assert len(key.arguments(0)) == len(indexes("admit", "k"))


def test_the_codes_of_admission_are_those_of_python() -> None:
    (listed,) = re.findall(r"local CODE = \{([^}]*)\}", SCRIPTS["admit"].text)
    assert {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", listed)} == {
        code.name: code.value for code in AdmitCode
    }


def test_an_include_stands_once_and_before_whoever_mentions_it(tmp_path: Path) -> None:
    (tmp_path / "base.lua").write_text("base\n")
    (tmp_path / "part.lua").write_text("--- @include base\npart\n")
    (tmp_path / "main.lua").write_text("#!lua\n--- @include part\n--- @include base\nmain\n")
    assert assemble("main", tmp_path) == "#!lua\nbase\npart\nmain\n"


def test_a_missing_include_and_a_circle_of_them_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.lua").write_text("--- @include b\n")
    with pytest.raises(ValueError, match="a → b: there is no b"):
        assemble("a", tmp_path)
    (tmp_path / "b.lua").write_text("--- @include a\n")
    with pytest.raises(ValueError, match="a → b → a: a circle"):
        assemble("a", tmp_path)

"""The glossary holds: none of the words that it bans appears where somebody reads or greps."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
GLOSSARY = ROOT / "docs/glossary.md"
EXEMPT = ("docs/decisions/", "CHANGELOG.md", "docs/glossary.md", "tests/engine/unit/test_words.py")
PARTS = re.compile(r"[A-Z]?[a-z]+")
TEXTS = (".md", ".lua", ".yml", ".yaml", ".toml", ".cfg", ".env.example", "Makefile", "Dockerfile")
IDENTIFIERS = frozenset(
    word
    for line in (
        "Trouble Terms Terming Draft Drafter Facts Fate Wire Garbled Foreign Seeker Lanes Claimer Keeper Completer",
        "Callees Callee Rendered Renderer Neighbours Keyring Metering Ledger Vitals Siblings facts_of facts_for heed",
        "withdrawn detached patience_s sealing translated WORKER_PLACES UNREADY_S RATE_BUCKET",
    )
    for word in line.split()
)
"""Names that were the engine's own words, beside those of the glossary."""


def banned() -> frozenset[str]:
    table = GLOSSARY.read_text().partition("## Words that are never used")[2]
    rows = re.findall(r"^\| ([a-z_, ]+) \|", table, re.MULTILINE)[1:]
    return frozenset(word for row in rows for word in row.split(", "))


def committed() -> list[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in found if name and not name.startswith(EXEMPT) and (ROOT / name).is_file()]


def words_of(text: str) -> set[str]:
    return {part.lower() for part in PARTS.findall(text)}


def strings_of(path: Path) -> Iterator[str]:
    """Yield the texts and comments of a module: log lines, titles, names of metrics and settings, docstrings."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.string


def test_the_list_is_read() -> None:
    assert {"door", "baton", "turned_away", "mend", "crowd"} <= banned()


def test_no_banned_word_where_people_read() -> None:
    never, found = banned(), dict[str, set[str]]()
    for name in committed():
        path = ROOT / name
        texts = [name]
        if not name.startswith("tests/"):
            if path.suffix == ".py":
                texts += strings_of(path)
            elif name.endswith(TEXTS):
                texts.append(path.read_text())
        if said := words_of(" ".join(texts)) & never:
            found[name] = said
    assert found == {}


def test_no_identifier_of_another_language() -> None:
    never, found = banned(), dict[str, set[str]]()
    for path in sorted((ROOT / "floodgate").rglob("*.py")):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        names = {token.string for token in tokens if token.type == tokenize.NAME}
        if said := names & IDENTIFIERS | words_of(" ".join(names)) & never:
            found[path.name] = said
    assert found == {}

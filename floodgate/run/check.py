"""The rules of the house that no other tool checks: `make check` runs this.

Owns sizes, what a module's text begins with, and what must never
be committed. Must not import what it reads.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 60
"""About 40 is usual; beyond 60 a function does two things. Scripts have no limit: an algorithm is read as a whole."""
HEADER_LINES = range(1, 9)
# Registries change and mirrors differ: a lock file works with whatever the machine is set up with.
# Written in pieces, so that this file passes itself.
REGISTRIES = ("pyp" + "i.org", "pythonhost" + "ed.org", "deb" + ".debian.org", "registry.npm" + "js", "/simp" + "le/")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work|farm|home/\w+|Users/\w+)/[\w.-]+")


def check() -> int:
    """Print every breach with file and line; return 1 if there is one."""
    breaches = [breach for path in _committed() for breach in breaches_of(path, _text(path))]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def breaches_of(path: Path, text: str) -> Iterator[str]:
    """Yield what the file at `path` does wrong."""
    for number, line in enumerate(text.splitlines(), 1):
        for host in REGISTRIES:
            if host in line:
                yield f"{path}:{number}: names a package registry ({host})"
        if found := MACHINE_PATH.search(line):
            yield f"{path}:{number}: names a path of one machine ({found.group()})"
    if path.suffix == ".py":
        yield from _python(path, text)


def _python(path: Path, text: str) -> Iterator[str]:
    if (lines := text.count("\n")) > MODULE_LINES:
        yield f"{path}: {lines} lines, and a module has at most {MODULE_LINES}"
    tree = ast.parse(text)
    header = ast.get_docstring(tree)
    if text.strip() and (header is None or len(header.splitlines()) not in HEADER_LINES):
        yield f"{path}:1: a module begins with two to six lines: what it owns, what it must not know"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, and a function at most {FUNCTION_LINES}"
            yield from _late_imports(path, node)


def _docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(function) is None:
        return 0
    docstring = function.body[0]
    return (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1


def _late_imports(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield f"{path}:{node.lineno}: an import inside {function.name}; imports stand at the top"


def _committed() -> list[Path]:
    """Return the files that git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
        return sorted(path for name in names if name and (path := Path(name)).is_file())
    hidden = (".venv", ".git", ".cache", "__pycache__")
    return sorted(path for path in Path().rglob("*") if path.is_file() and not set(path.parts) & set(hidden))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""

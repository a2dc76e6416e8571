"""Brings another version of the engine into a project that was made from it, and shows what was edited in its files.

Owns a three-way merge from the recorded base, on the paths that `[tool.floodgate]` gives
to the engine or to both. Must not know what the files are for.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = "pyproject.toml"
LOCKS = re.compile(r"requirements/[^/]+\.txt")
"""Not merged: `make lock` makes them from what was."""
OWN = ("name", "version", "description", "source", "base")
"""Lines of pyproject.toml that belong to the project, whatever the engine's say."""
OWNERS = ("yours", "engine", "both")
TRAILER = ("lock", "check test")
"""Two calls: within one, make would not see that its own first target gave the second more to install."""

Settings = dict[str, Any]
"""The table `[tool.floodgate]`: whose each path is, and where the engine comes from."""
Tree = dict[str, str]
"""Path to mode and object, as git lists them."""


class Refused(Exception):
    """Something has to be done first; the text says what."""


def upgrade(to: str | None, source: str | None, checks: str | None) -> int:
    """Merge the engine of `to` into a new branch, uncommitted; return 1 where something is left to do."""
    try:
        if not to or to.startswith("-"):
            raise Refused("say to which tag, branch or commit: make upgrade TO=v0.2.0")
        if _git("status", "--porcelain"):
            raise Refused("there are changes here: commit them, or git stash -u, then this again")
        if _git("rev-parse", "--show-prefix").strip():
            raise Refused("the project has to be a repository of its own, not a folder of one")
        settings = _settings(source)
        before, after = _fetch(settings, settings["base"]), _fetch(settings, to)
        # A branch moves on, so its commit is recorded.
        named = _git("ls-remote", "--tags", "--", settings["source"], f"refs/tags/{to}")
        change = _change(settings, before, after, to if named else after)
        branch = f"upgrade-{to.replace('/', '-')}"
        _git("switch", "--quiet", "--create", branch)
        merge = ["-c", "merge.directoryRenames=false", "cherry-pick", "--no-commit", change]
        said = subprocess.run(["git", *_IDENTITY, *merge], capture_output=True, text=True, check=False)
        conflicts = _git("diff", "--name-only", "--diff-filter=U").splitlines()
        if said.returncode and not conflicts:
            raise Refused(said.stderr)
    except Refused as why:
        print(f"upgrade | {str(why).strip()}")
        return 1
    _tell(settings, before, after)
    if conflicts:
        print(f"upgrade | on branch {branch}; resolve, git add, then make {' && make '.join(TRAILER)}, and commit:")
        print(*(f"  {path}" for path in conflicts), sep="\n")
        return 1
    print(f"upgrade | merged into branch {branch}, not committed")
    if checks == "no":
        print(f"upgrade | left out, since CHECKS=no: make {' && make '.join(TRAILER)}")
        return 0
    return next((code for words in TRAILER if (code := subprocess.call(["make", *words.split()]))), 0)


def upgrade_check(source: str | None) -> int:
    """Print which of the engine's files differ from the recorded base; return 1 if any does."""
    try:
        settings = _settings(source)
        base = _fetch(settings, settings["base"])
    except Refused as why:
        print(f"upgrade | {why}")
        return 1
    edited = [line for line in _differing(base) if owner(line.partition("\t")[2], settings) == "engine"]
    print(*(edited or [f"upgrade | the engine is as in {settings['base']}"]), sep="\n")
    return 1 if edited else 0


def owner(path: str, table: Settings) -> str | None:
    """Return whose a path is: by the longest entry that fits."""
    fitting = [
        (len(entry), name)
        for name in OWNERS
        for entry in table[name]
        if path == entry or (entry.endswith("/") and path.startswith(entry))
    ]
    return max(fitting)[1] if fitting else None


# A commit that nobody keeps needs an author all the same, also where git has none configured.
_IDENTITY = ("-c", "user.name=floodgate", "-c", "user.email=floodgate@localhost")


def _settings(source: str | None) -> Settings:
    settings = _table(Path(PYPROJECT).read_text(encoding="utf-8"))
    settings["source"] = source or settings["source"]
    if not settings["source"]:
        raise Refused("say where the engine's repository is: SOURCE=https://…; an upgrade records it")
    return settings


def _table(text: str) -> Settings:
    return dict(tomllib.loads(text)["tool"]["floodgate"])


def _fetch(settings: Settings, version: str) -> str:
    """Fetch a version without its tag, which may be one of the project's own; return its commit."""
    _git("fetch", "--quiet", "--no-tags", "--", settings["source"], version)
    return _git("rev-parse", "FETCH_HEAD^{commit}").strip()


def _change(settings: Settings, before: str, after: str, base: str) -> str:
    """Make two commits that no branch has, the old engine and upon it the new one; return the second.

    Picking it merges by trees alone, so the project needs no history in common with the engine's.
    """
    old, new = _tree(before), _tree(after)
    was, now = (_table(_git("show", f"{commit}:{PYPROJECT}")) for commit in (before, after))
    # The project's own table, with what the new one has added to it.
    table = {name: [*settings[name], *(entry for entry in now[name] if entry not in was[name])] for name in OWNERS}
    kept = {path for path in {*old, *new} if owner(path, table) in ("yours", None) or LOCKS.fullmatch(path)}
    new = {path: entry for path, entry in new.items() if path not in kept}
    new |= {path: entry for path, entry in old.items() if path in kept}
    here = Path(PYPROJECT).read_text(encoding="utf-8")
    old[PYPROJECT] = _pyproject(before, here)
    recorded = _set(_set(here, f'base = "{base}"'), f'source = "{settings["source"]}"')
    new[PYPROJECT] = _pyproject(after, recorded)
    return _commit(new, "-p", _commit(old))


def _pyproject(commit: str, own: str) -> str:
    """Return a version's pyproject.toml with the project's own lines, which then cannot conflict."""
    text = _git("show", f"{commit}:{PYPROJECT}")
    for line in re.findall(rf'^(?:{"|".join(OWN)}) = ".*"$', own.partition("[tool.ruff]")[0], re.MULTILINE):
        text = _set(text, line)
    return "100644 " + _git("hash-object", "-w", "--stdin", given=text).strip()


def _set(text: str, line: str) -> str:
    key = line.partition(" = ")[0]
    return re.sub(rf'^{key} = ".*"$', lambda _: line, text, count=1, flags=re.MULTILINE)


def _tree(commit: str) -> Tree:
    entries = (line.partition("\t") for line in _git("ls-tree", "-r", "-z", commit).split("\0") if line)
    return {path: " ".join(told.split()[::2]) for told, _, path in entries}


def _commit(tree: Tree, *parents: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        listed = "".join(f"{entry}\t{path}\0" for path, entry in tree.items())
        _git("update-index", "-z", "--index-info", given=listed, **index)
        written = _git("write-tree", **index).strip()
    return _git(*_IDENTITY, "commit-tree", *parents, "-m", "The engine", written).strip()


def _differing(commit: str, *other: str) -> list[str]:
    """Return status and path of what differs between a commit and another, or the working tree."""
    said = _git("diff", "--name-status", "--no-renames", "-z", commit, *other).split("\0")
    return [f"{status}\t{path}" for status, path in zip(said[::2], said[1::2], strict=False)]


def _tell(settings: Settings, before: str, after: str) -> None:
    """Print what is new, and what changed in files of the template that are the project's now."""
    diff = _git("diff", "--unified=0", "--no-color", before, after, "--", "CHANGELOG.md").splitlines()
    print(*(line[1:] for line in diff if line.startswith("+") and not line.startswith("+++")), sep="\n")
    if yours := [line for line in _differing(before, after) if owner(line.partition("\t")[2], settings) == "yours"]:
        print(f"upgrade | yours, so not touched; git diff {before[:12]} {after[:12]} -- FILE shows what changed there:")
        print(*yours, sep="\n")


def _git(*words: str, given: str | None = None, **variables: str) -> str:
    done = subprocess.run(
        ["git", *words], input=given, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout

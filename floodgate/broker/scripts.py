"""The only place where the queue's state changes: one Lua script per command.

Owns the files in `lua/`, how their includes are resolved, and their SHA, which is
of the whole text, so two versions never mix. `commands` says what they take and
return; this module knows neither.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^--- @include (\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it; `sha` is what EVALSHA names."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> Script:
        """Return the script with its SHA."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def assemble(name: str, directory: Path = LUA) -> str:
    """Return a script with its includes in their place: each once, where it is first mentioned.

    Raises `ValueError` for an include that is missing, or that includes itself by way of others.
    """
    included: set[str] = set()

    def expand(part: str, parents: tuple[str, ...]) -> str:
        chain = " → ".join((*parents, part))
        if part in parents:
            raise ValueError(f"{chain}: a circle of includes")
        if not (path := directory / f"{part}.lua").is_file():
            raise ValueError(f"{chain}: there is no {path.name} in {path.parent.name}/")
        return _INCLUDE.sub(lambda found: expand_once(found[1], (*parents, part)), path.read_text(encoding="utf-8"))

    def expand_once(part: str, parents: tuple[str, ...]) -> str:
        if part in included:
            return ""
        text = expand(part, parents)
        included.add(part)
        return text

    return expand(name, ())


SCRIPTS: dict[str, Script] = {
    path.stem: Script.of(path.stem, assemble(path.stem)) for path in sorted(LUA.glob("*.lua"))
}

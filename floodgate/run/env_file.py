"""The file `.env` of the containers: what it sets, and the secrets that are made for it once.

Git ignores it and docker compose reads it. Must not know who asks.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKEN = "OPS_TOKEN"
PASSWORDS = ("REDIS_PASSWORD", "REDIS_ADMIN_PASSWORD")
_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*[=:][ \t]*([^\s#].*)$", re.MULTILINE)


def variables(path: Path) -> dict[str, str]:
    """Return the variables that a file sets to something."""
    return dict(_LINE.findall(_text(path)))


def keep_secrets(path: Path, environment: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Add those secrets to the file that neither it nor the environment has; return their names."""
    text, kept = _text(path), variables(path)
    made = [name for name in names if not environment.get(name) and name not in kept]
    if made:
        # Readable by its owner alone from the first byte, also where it began as a copy of .env.example.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("" if text.endswith("\n") or not text else "\n")
            file.writelines(f"{name}={secrets.token_urlsafe(32)}\n" for name in made)
    return made


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""

"""The secrets of the containers: made once, kept in a file that git ignores and docker compose reads.

Must not know who asks for them.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKEN = "OPS_TOKEN"
PASSWORDS = ("REDIS_PASSWORD", "REDIS_ADMIN_PASSWORD")


def keep_secrets(path: Path, environment: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Add those secrets to the file that neither it nor the environment has; return their names."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    made = [name for name in names if not environment.get(name) and not _set(name, text)]
    if made:
        # Readable by its owner alone from the first byte, also where it began as a copy of .env.example.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("" if text.endswith("\n") or not text else "\n")
            file.writelines(f"{name}={secrets.token_urlsafe(32)}\n" for name in made)
    return made


def _set(name: str, text: str) -> bool:
    return re.search(rf"^\s*(?:export\s+)?{name}\s*[=:]\s*[^\s#]", text, re.MULTILINE) is not None

"""The operators' token of the containers: made once, kept in a file that git ignores and docker compose reads.

Must not know who asks for it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

TOKEN = "OPS_TOKEN"
_SET = re.compile(rf"^\s*(?:export\s+)?{TOKEN}\s*[=:]\s*[^\s#]", re.MULTILINE)


def keep_token(path: Path, environment: Mapping[str, str]) -> bool:
    """Add a token to the file unless it, or the environment, has one; return whether it did."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if environment.get(TOKEN) or _SET.search(text):
        return False
    # Readable by its owner alone from the first byte, also where it began as a copy of .env.example.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{TOKEN}={secrets.token_urlsafe(32)}\n")
    return True

"""Pins the images of Dockerfile and docker-compose.yml to what their tags mean today: `make lock` does it too.

A tag moves, a digest does not. Where there is no Docker, or its registry does not
answer, the pin that is there stays, and so does a tag without one. Must not know what
the images are for.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

FILES = (Path("Dockerfile"), Path("docker-compose.yml"))
ASK_S = 30
IMAGE = re.compile(r"^(FROM |\s*image: )([a-z0-9./_-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?(?=\s|$)", re.MULTILINE)
"""An image with a tag, and its digest if it has one; not a stage of a Dockerfile, nor the project's own image."""


def pinned(text: str, digest_of: Callable[[str], str | None]) -> str:
    """Return the text with every image at the digest that is known of its tag."""

    def at(found: re.Match[str]) -> str:
        before, image, old = found.groups()
        digest = digest_of(image)
        return f"{before}{image}{f'@{digest}' if digest else old or ''}"

    return IMAGE.sub(at, text)


def ask(image: str) -> str | None:
    """Return the digest that the registry has for a tag, of all platforms together; None where it cannot be asked."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        told = ""
    digest = told if re.fullmatch(r"sha256:[0-9a-f]{64}", told) else None
    print(f"{image}: {digest or 'nobody tells its digest, so it stays as it is'}")
    return digest


def pin() -> int:
    """Pin all images; return 0, since an unreachable registry is no mistake."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        path.write_text(pinned(text, ask), encoding="utf-8")
    return 0

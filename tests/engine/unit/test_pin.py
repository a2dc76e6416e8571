"""Images are pinned to what their tags mean, where that is known; nothing else in the files changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from floodgate.run.pin import FILES, IMAGE, pinned

ROOT = Path(__file__).parents[3]
DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
TEXT = "FROM python:3.13-slim AS base\nFROM base AS app\n    image: redis:8-alpine\n  image: ${PROJECT}-app:latest\n"


def test_a_tag_gets_its_digest_and_keeps_its_name() -> None:
    known = {"python:3.13-slim": DIGEST}
    text = pinned(TEXT, known.get)
    assert text == TEXT.replace("python:3.13-slim", f"python:3.13-slim@{DIGEST}")
    assert pinned(text, {"python:3.13-slim": OTHER}.get) == text.replace(DIGEST, OTHER)


def test_a_pin_of_which_nothing_is_known_stays() -> None:
    text = TEXT.replace("redis:8-alpine", f"redis:8-alpine@{DIGEST}")
    assert pinned(text, lambda image: None) == text


def test_every_image_of_others_is_found() -> None:
    found = {image for path in FILES for _, image, _ in IMAGE.findall((ROOT / path).read_text())}
    assert {image.partition(":")[0] for image in found} == {"python", "redis", "haproxy", "prom/prometheus"}


def test_the_program_asks_docker_and_goes_on_without(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "floodgate", tmp_path / "floodgate")
    for path in FILES:
        shutil.copy(ROOT / path, tmp_path / path)
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\ncase "$*" in *" redis:8-alpine") echo {DIGEST};; *) exit 1;; esac\n')
    docker.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "floodgate", "pin"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"image: redis:8-alpine@{DIGEST}\n" in (tmp_path / "docker-compose.yml").read_text()
    assert (tmp_path / "Dockerfile").read_text() == (ROOT / "Dockerfile").read_text()
    assert "python:3.13-slim: nobody tells its digest" in done.stdout

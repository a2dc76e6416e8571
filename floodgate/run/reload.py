"""Reload on change, unless the change is a mistake.

Owns the watching of source files and the trial. Must not know how the
apps run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from watchfiles import PythonFilter, awatch

SOURCES = ("shared", "gateway_app", "worker_app", "floodgate")


def watched(root: Path, handlers: str) -> list[Path]:
    """Return the directories whose Python files matter; `handlers` may lie outside the usual ones."""
    names = {*SOURCES, handlers.partition(".")[0]}
    return sorted(root / name for name in names if (root / name).is_dir())


async def mistake(environment: Mapping[str, str]) -> str | None:
    """Build both apps in a fresh interpreter, the user's part included; return what it prints when that fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "floodgate", "declared"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    lines = output.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith('  File "<frozen'))  # the import machinery's own


async def watch(directories: list[Path], environment: Mapping[str, str], reload: Callable[[], None]) -> None:
    """Call `reload` after every change that both apps can be built from; print the mistake of another."""
    async for changes in awatch(*directories, watch_filter=PythonFilter()):
        names = ", ".join(sorted({Path(path).name for _, path in changes}))
        error = await mistake(environment)
        if error is None:
            say(f"{names} changed: reloading")
            reload()
        else:
            say(f"{names} changed, and the apps cannot be built from it; the old version goes on serving:\n{error}")


async def until_it_builds(directories: list[Path], environment: Mapping[str, str]) -> None:
    """Return when both apps can be built; say what is wrong until then."""
    changes = awatch(*directories, watch_filter=PythonFilter())
    while True:
        change = asyncio.ensure_future(anext(changes))  # before the trial, so that a change during it counts
        try:
            error = await mistake(environment)
            if error is None:
                return
            say(f"the apps cannot be built; repair this and it goes on:\n{error}")
            await change
        finally:
            change.cancel()


def say(text: str) -> None:
    """Print a line of the development system itself."""
    for line in text.splitlines():
        print(f"dev     | {line}", flush=True)

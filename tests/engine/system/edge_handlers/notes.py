"""Side effects that a test can see: one line per event, appended at once."""

from __future__ import annotations

import asyncio
import os

from shared import Context


def note(event: str, tag: str, ctx: Context) -> None:
    """Append `event tag attempt pid`; a single short write never mixes with another process's."""
    line = f"{event} {tag} {ctx.attempt} {os.getpid()}\n".encode()
    file = os.open(os.environ["NOTES_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


async def noted_sleep(tag: str, seconds: float, ctx: Context) -> str:
    """Sleep, and note the start and the end, or that one was told to stop."""
    note("start", tag, ctx)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note("stopped", tag, ctx)
        raise
    note("end", tag, ctx)
    return tag

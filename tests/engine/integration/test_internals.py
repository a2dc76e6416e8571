"""docs/internals.md tells the truth: the files of its list are those that a request passes, in that order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

from floodgate.testing import SystemFactory
from shared import queued

ROOT = Path(__file__).parents[3]
FILES = re.findall(r"^\| `(floodgate/\S+)` \|", (ROOT / "docs/internals.md").read_text(), re.MULTILINE)


@queued("/internals", 10)
async def handler(x: int) -> int:
    return x + 1


def test_every_file_is_there() -> None:
    assert len(FILES) == 17
    assert [name for name in FILES if not (ROOT / name).is_file()] == []


async def test_a_request_passes_them_in_order(floodgate: SystemFactory) -> None:
    entered: list[str] = []

    def on_call(frame: FrameType, event: str, value: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(ROOT)):
            entered.append(str(Path(name).relative_to(ROOT)))

    async with floodgate(__name__) as system:
        assert (await system.get("/internals?x=1")).json() == 2  # what is imported and made for the first request
        sys.setprofile(on_call)
        try:
            answer = await system.get("/internals?x=2")
        finally:
            sys.setprofile(None)
    assert answer.json() == 3
    steps = iter(entered)  # the loops of the background come in between
    assert [name for name in FILES if name.endswith(".py") and name not in steps] == []

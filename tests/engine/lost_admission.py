"""An admission that is carried out, and whose answer does not arrive."""

from __future__ import annotations

from typing import Any

import pytest

from floodgate.broker.commands import Call
from floodgate.broker.pipeline import Pipeline
from floodgate.errors import Unavailable


def lose_next_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next answer of `admit` lost with its connection; those after it arrive."""
    run = Pipeline.run

    async def deaf(pipeline: Pipeline, call: Call[Any], timeout_s: float) -> Any:
        reply = await run(pipeline, call, timeout_s)
        if call.script.name == "admit":
            monkeypatch.undo()
            await pipeline.close()
            raise Unavailable("its answer is lost")
        return reply

    monkeypatch.setattr(Pipeline, "run", deaf)

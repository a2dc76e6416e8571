"""Answers that nobody reads, where two of the rules that end them meet."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from floodgate.gateway import connections
from floodgate.gateway.connections import PIECE_BYTES, Connection, LargeAnswers

SIZE = 2 * PIECE_BYTES


def answer() -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"x" * SIZE}


async def test_an_answer_that_is_being_cut_is_not_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STILL_S", 0.05)
    answers = LargeAnswers(SIZE)
    got: list[int] = []

    async def never(message: Any) -> None:
        await asyncio.Event().wait()

    async def take(message: Any) -> None:
        got.append(len(message["body"]))

    still = asyncio.create_task(answers.send(answer(), never, Connection(None), "still"))
    await asyncio.sleep(0)
    time.sleep(0.1)  # a late turn of the loop: the time of the first is up, and its task has not heard of it yet
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await answers.send(answer(), take, Connection(None), "next")
    assert sum(got) == SIZE
    assert not await still

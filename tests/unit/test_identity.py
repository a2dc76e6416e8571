"""A caller that could not travel to a worker fails the one request that brought it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway_app.identity import Identity
from shared import Caller
from shared.queue.messages import Task, pack_task, unpack_task


async def identified(caller: Any) -> Any:
    async def identify(_: Any) -> Any:
        return caller

    return await Identity(identify)(None)  # type: ignore[arg-type]


NESTED: list[Any] = []
for _ in range(20):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "claims",
    [
        {"at": datetime(2026, 2, 28, 12, 30, 0, 5, tzinfo=UTC)},
        {"n": 2**64},
        {"t": "\ud800"},
        {1: "a"},
        {"deep": NESTED},
        {"set": {1}},
        {"b": b"a"},
        ["a"],
    ],
    ids=repr,
)
async def test_claims_that_cannot_travel_fail_the_one_request(claims: Any) -> None:
    with pytest.raises(TypeError, match="JSON values"):
        await identified(Caller("a", claims))


@pytest.mark.parametrize("caller", ["ann", Caller(7), Caller("\ud800"), {"id": "ann"}], ids=repr)  # type: ignore[arg-type]
async def test_what_is_no_caller_fails_the_one_request(caller: Any) -> None:
    with pytest.raises(TypeError, match="returns a Caller"):
        await identified(caller)


async def test_claims_that_are_json_travel() -> None:
    claims = {"roles": ["a", None], "n": -(2**63), "ratio": 0.5, "nested": {"ü": True}}
    caller = await identified(Caller("ann", claims))
    assert (
        unpack_task(pack_task(Task(0, "r", "l", "i", 1, "f", 8, 1, "id", claims=dict(caller.claims)))).claims == claims
    )
    assert await identified(None) is None

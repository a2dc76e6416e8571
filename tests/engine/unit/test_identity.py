"""A caller that could not travel to a worker fails the one request that brought it; who asks is found out in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from floodgate.broker.envelopes import Task, pack_task, unpack_task
from floodgate.gateway.identity import Identity, OutOfTime, within
from shared import Caller


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


class TestWithin:
    """What waits is under the limit; whatever it waits for, it is as if it had been awaited."""

    async def answered(self, asked: Coroutine[Any, Any, Any], seconds: float = 5) -> Any:
        try:
            return await within(seconds, asked)
        except OutOfTime:
            return "over"
        except TimeoutError as error:
            return error

    async def test_what_waits_for_nothing_is_answered_without_a_timer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_at", None)

        assert await within(5, self.nothing()) == "nobody"

    async def nothing(self) -> str:
        return "nobody"

    async def test_what_waits_several_times_goes_on_to_its_end(self) -> None:
        async def waits() -> str:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.01, told.set_result, "ann")
            await asyncio.sleep(0)
            name = await told
            await asyncio.sleep(0.01)
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0.01))
            return name

        assert await self.answered(waits()) == "ann"

    async def test_what_takes_too_long_is_ended_and_cleans_up(self) -> None:
        ended: list[str] = []

        async def hangs() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                ended.append("cleaned up")

        assert (await self.answered(hangs(), 0.01), ended) == ("over", ["cleaned up"])

    @pytest.mark.parametrize("waits", [False, True])
    async def test_what_fails_fails_with_its_own_error(self, waits: bool) -> None:
        async def fails() -> None:
            if waits:
                await asyncio.sleep(0)
            raise KeyError("who")

        with pytest.raises(KeyError):
            await self.answered(fails())

    @pytest.mark.parametrize("waits", [False, True])
    async def test_a_time_out_of_its_own_is_not_the_limits(self, waits: bool) -> None:
        async def fails() -> None:
            if waits:
                await asyncio.sleep(0)
            raise TimeoutError("the directory of users")

        assert str(await self.answered(fails())) == "the directory of users"

    async def test_what_a_future_raises_arrives_where_it_was_awaited(self) -> None:
        async def catches() -> str:
            broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(broken.set_exception, OSError("gone"))
            try:
                return await broken
            except OSError as error:
                return str(error)

        assert await self.answered(catches()) == "gone"

    async def test_a_cancellation_goes_through(self) -> None:
        seen: list[str] = []

        async def waits() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        task = asyncio.create_task(self.answered(waits()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert seen == ["cancelled"]

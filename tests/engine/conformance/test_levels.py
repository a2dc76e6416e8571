"""A level that a function of the arguments gives decides which worker takes a request."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from tests.engine.conformance.comparing import Pair
from tests.engine.system.system import System, until_async

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHEAP = {"rows": 1}
DEAR = {"rows": 1001}


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("title", "")


async def test_a_worker_takes_the_requests_up_to_its_level_and_no_dearer_ones(pair: Pair, conforming: System) -> None:
    assert outcome(await pair.ours.post("/levels/job?depth=6", json=CHEAP)) == (200, "")
    assert outcome(await pair.ours.post("/levels/job?depth=7", json=CHEAP)) == (503, "No worker")
    assert outcome(await pair.ours.post("/levels/job", json=DEAR)) == (503, "No worker")
    assert outcome(await pair.ours.get("/levels/fixed")) == (503, "No worker")

    dear_worker = await asyncio.to_thread(conforming.worker)
    try:
        await until_async(lambda: httpx.get(f"{conforming.apps[0].url}/levels/fixed").status_code == 200)
        assert outcome(await pair.ours.post("/levels/job?depth=9", json=CHEAP)) == (200, "")
        assert outcome(await pair.ours.post("/levels/job", json=DEAR)) == (200, "")
    finally:
        dear_worker.signal(signal.SIGTERM)
        await until_async(lambda: not dear_worker.alive)
    assert outcome(await pair.ours.post("/levels/job", json=DEAR)) == (503, "No worker")


async def test_only_validated_arguments_reach_the_level_function(pair: Pair) -> None:
    answer = await pair.ours.post("/levels/job?depth=none", json={"rows": "many"})
    assert [error["loc"] for error in answer.json()["detail"]] == [["query", "depth"], ["body", "rows"]]


@pytest.mark.parametrize("depth", [-1, 10], ids=["raises", "leaves the range"])
async def test_a_level_function_is_a_failure_without_text(pair: Pair, depth: int) -> None:
    a_server_closes_after_an_exception = {"connection": "close"}
    answer = await pair.ours.post(f"/levels/job?depth={depth}", json=CHEAP, headers=a_server_closes_after_an_exception)
    assert outcome(answer) == (500, "Internal error")
    assert "stays in the log" not in answer.text

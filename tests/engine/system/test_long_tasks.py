"""`Prefer: respond-async`: 202, a place to ask, a result that stays, and an end by DELETE."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from floodgate.broker.connection import connect
from floodgate.broker.keys import Keys
from floodgate.gateway.async_results import AsyncResults
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import System, served, system, until_async

HANDLERS = "tests.engine.system.admission_handlers"
ASYNC = {"prefer": "respond-async"}


@pytest.fixture(scope="module")
def door(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One gateway, one worker with two places; results stay for two seconds."""
    with served(server, tmp_path_factory, HANDLERS, worker_concurrency=2, result_ttl_s=2) as running:
        yield running


@pytest.fixture
async def client(door: System) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=door.apps[0].url, timeout=15) as opened:
        yield opened


async def ask(client: httpx.AsyncClient, tag: str, seconds: float, prefer: str = "respond-async") -> httpx.Response:
    return await client.post("/long", json={"tag": tag, "seconds": seconds}, headers={"prefer": prefer})


async def result(client: httpx.AsyncClient, location: str) -> httpx.Response:
    async with asyncio.timeout(8):
        while (answer := await client.get(location)).status_code == 202:
            await asyncio.sleep(0.05)
    return answer


async def test_the_client_gets_202_at_once_and_the_answer_later(client: httpx.AsyncClient, door: System) -> None:
    started_s = time.monotonic()
    accepted = await ask(client, "later", 0.6)
    assert accepted.status_code == 202
    assert time.monotonic() - started_s < 0.4
    location = accepted.headers["location"]
    assert re.fullmatch(r"/tasks/[0-9a-f]{12}\.[0-9a-f]{32}", location)
    assert accepted.headers["preference-applied"] == "respond-async"
    assert accepted.json()["id"] == location.removeprefix("/tasks/")
    await until_async(lambda: door.noted("later") == ["start"])
    state = await client.get(location)
    assert (state.status_code, state.json()["state"]) == (202, "running")
    answer = await result(client, location)
    assert (answer.status_code, answer.json()) == (200, "later")
    assert (await client.get(location)).json() == "later"
    await asyncio.sleep(2.2)
    assert_problem(await client.get(location), 404)


async def test_the_place_to_ask_is_below_the_root_path(door: System) -> None:
    rooted = door.gateway(UVICORN_ROOT_PATH="/api/v1")
    async with httpx.AsyncClient(base_url=rooted.url, timeout=15) as client:
        accepted = await ask(client, "rooted", 0.6)
        assert accepted.status_code == 202
        assert re.fullmatch(r"/api/v1/tasks/[0-9a-f.]+", accepted.headers["location"])
        inside = accepted.headers["location"].removeprefix("/api/v1")
        state = await client.get(inside)
        assert (state.status_code, state.headers["location"]) == (202, accepted.headers["location"])
        assert (await result(client, inside)).json() == "rooted"


async def test_a_task_that_waits_says_so(client: httpx.AsyncClient, door: System) -> None:
    held = [await ask(client, "held", 0.8) for _ in range(2)]
    await until_async(lambda: door.noted("held").count("start") == 2)
    waits = (await ask(client, "waits", 0)).headers["location"]
    assert (await client.get(waits)).json()["state"] == "waiting"
    assert (await result(client, waits)).status_code == 200
    for one in held:
        assert (await result(client, one.headers["location"])).status_code == 200


async def test_an_error_of_the_handler_is_the_result(client: httpx.AsyncClient) -> None:
    answer = await result(client, (await ask(client, "none", 0)).headers["location"])
    assert (answer.status_code, answer.json()) == (418, {"detail": "nothing of the kind"})


async def test_with_patience_it_is_answered_in_time_if_it_can_be(client: httpx.AsyncClient) -> None:
    quick = await ask(client, "quick", 0.1, "respond-async, wait=2")
    assert (quick.status_code, quick.json()) == (200, "quick")
    started_s = time.monotonic()
    slow = await ask(client, "slow", 1.6, "respond-async, wait=1")
    assert slow.status_code == 202
    assert 0.9 < time.monotonic() - started_s < 1.4
    assert (await result(client, slow.headers["location"])).json() == "slow"


async def test_delete_cancels_what_runs_and_drops_what_is_done(client: httpx.AsyncClient, door: System) -> None:
    location = (await ask(client, "unwanted", 5)).headers["location"]
    await until_async(lambda: door.noted("unwanted") == ["start"])
    assert (await client.delete(location)).status_code == 204
    await until_async(lambda: door.noted("unwanted") == ["start", "stopped"])
    assert_problem(await client.get(location), 404)
    done = (await ask(client, "done", 0)).headers["location"]
    assert (await result(client, done)).status_code == 200
    assert (await client.delete(done)).status_code == 204
    assert (await client.get(done)).status_code == 404
    assert (await client.delete(done)).status_code == 404


async def test_a_client_that_leaves_after_the_202_changes_nothing(client: httpx.AsyncClient, door: System) -> None:
    async with httpx.AsyncClient(base_url=client.base_url) as other:
        location = (await ask(other, "left", 0.5)).headers["location"]
    assert (await result(client, location)).json() == "left"


async def test_without_the_preference_or_on_another_route_nothing_changes(client: httpx.AsyncClient) -> None:
    assert (await client.post("/long", json={"tag": "plain"})).json() == "plain"
    assert (await client.post("/narrow", json={"tag": "plain"}, headers=ASYNC)).json() == "plain"


async def test_the_limit_is_shared_and_a_refusal_is_at_once(client: httpx.AsyncClient, door: System) -> None:
    answers = [await ask(client, "many", 0.3) for _ in range(8)]
    statuses = [a.status_code for a in answers]
    assert set(statuses) == {202, 503}
    assert statuses.count(202) <= 4
    for answer in answers:
        if answer.status_code == 202:
            assert (await result(client, answer.headers["location"])).status_code == 200


@pytest.mark.parametrize("id", ["x", "0123456789ab.0", "0123456789ab." + "0" * 32, "%00", "a.b*c"])
async def test_an_unknown_id_is_404(client: httpx.AsyncClient, id: str) -> None:
    assert (await client.get(f"/tasks/{id}")).status_code == 404
    assert (await client.delete(f"/tasks/{id}")).status_code == 404


async def test_any_number_of_clients_may_ask_at_once(door: System) -> None:
    async with httpx.AsyncClient(base_url=door.apps[0].url, timeout=15, limits=httpx.Limits()) as many:
        unknown = "/tasks/0123456789ab." + "0" * 32
        answers = await asyncio.gather(*(many.get(unknown) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {404}


async def test_beyond_their_bound_no_result_is_promised_and_everything_else_goes_on(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    with system(tmp_path, redis_url, namespace, HANDLERS, FLOODGATE_RESULTS_BYTES="1500") as running:
        gateway, _ = running.gateway(), running.worker()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as own:
            places = [(await ask(own, "x" * 600, 0)).headers["location"] for _ in range(3)]
            for place in places:
                assert (await result(own, place)).json() == "x" * 600
            await asyncio.sleep(2.5)
            refused = await ask(own, "refused", 0)
            assert_problem(refused, 503)
            assert refused.json()["title"] == "Results full"
            assert int(refused.headers["retry-after"]) >= 1
            waited = await own.post("/long", json={"tag": "waited", "seconds": 0})
            assert (waited.status_code, waited.json()) == (200, "waited")
            for place in places:
                assert (await own.get(place)).status_code == 200
                assert (await own.delete(place)).status_code == 204
                assert (await own.delete(place)).status_code == 404
            await asyncio.sleep(2.5)
            assert (await ask(own, "again", 0)).status_code == 202
        assert running.noted("refused") == []


@pytest.mark.parametrize(
    ("args", "most", "kept", "full"),
    [
        (("--maxmemory", "64mb"), None, 15, False),
        (("--maxmemory", "64mb"), None, 17, True),
        ((), None, 63, False),
        ((), None, 65, True),
        ((), 1 << 20, 2, True),
    ],
)
async def test_the_bound_of_results_is_a_quarter_of_redis(
    args: tuple[str, ...], most: int | None, kept: int, full: bool
) -> None:
    keys = Keys("quarter")
    with EmbeddedServer(args=args) as server:
        client = connect(Settings(redis_url=SecretStr(server.url), namespace="quarter"))
        (seconds, _) = await client.time()
        soon, gone = seconds // 60 + 2, seconds // 60 - 1
        await client.hset(keys.results(), mapping={str(soon): kept << 20, str(gone): 1 << 40})
        assert await AsyncResults(client, keys).are_full(most) is full
        await client.aclose()

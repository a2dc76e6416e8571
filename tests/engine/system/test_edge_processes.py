"""Edge cases of whole processes: none there, killed, told to end, or of another release."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from floodgate.declare.registry import OTHER_PROJECT
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.system import LEASE_S, ROLLING, App, System, system, until_async


@contextlib.asynccontextmanager
async def asking(gateway: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15) as client:
        yield client


@pytest.fixture
def rolling(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[System]:
    """A system of the package that changes with the environment."""
    with system(tmp_path, redis_url, namespace, ROLLING) as running:
        yield running


async def warmed(client: httpx.AsyncClient, path: str) -> None:
    """Let admission learn how long a handler takes; without a sample it lets hardly any wait."""
    async with asyncio.timeout(10):
        while (await client.get(f"{path}?tag=warm&seconds=0")).status_code != 200:
            await asyncio.sleep(0.1)  # a registration of 0.6 s may end on a busy machine


async def test_a_worker_takes_only_tasks_up_to_its_level(own: System) -> None:
    cheap = own.worker(FLOODGATE_WORKER_MAX_LEVEL="4", wait=False)
    gateway = own.gateway()
    await until_async(lambda: cheap.ready)
    async with asking(gateway) as client:
        assert (await client.get("/ok")).status_code == 200
        assert_problem(await client.get("/dear"), 503)
        own.worker(FLOODGATE_WORKER_MAX_LEVEL="5")
        assert (await client.get("/dear")).json() == "dear"


@pytest.mark.parametrize("path", ["/sleep", pytest.param("/look", marks=pytest.mark.slow)])
async def test_a_killed_workers_idempotent_task_is_answered_by_another(own: System, path: str) -> None:
    own.worker(wait=False)
    own.worker(wait=False)
    gateway = own.gateway()
    await until_async(lambda: all(app.ready for app in own.apps))
    async with asking(gateway) as client:
        asked = asyncio.create_task(client.get(f"{path}?tag=kill&seconds=1"))
        await until_async(lambda: bool(own.pids("kill")))
        own.by_pid(own.pids("kill")[0]).kill()
        killed_s = time.monotonic()
        response = await asked
    assert (response.status_code, response.json()) == (200, "kill")
    assert own.noted("kill") == ["start", "start", "end"]
    assert len(set(own.pids("kill"))) == 2
    assert time.monotonic() - killed_s < LEASE_S + 1 + 1


async def test_a_killed_workers_post_is_502_within_a_lease_and_a_second_and_runs_once(own: System) -> None:
    own.worker(wait=False)
    own.worker(wait=False)
    gateway = own.gateway()
    await until_async(lambda: all(app.ready for app in own.apps))
    async with asking(gateway) as client:
        asked = asyncio.create_task(client.post("/sleep?tag=kill&seconds=5"))
        await until_async(lambda: bool(own.pids("kill")))
        own.by_pid(own.pids("kill")[0]).kill()
        killed_s = time.monotonic()
        assert_problem(await asked, 502)
        assert time.monotonic() - killed_s < LEASE_S + 1
        assert (await client.post("/sleep?tag=next&seconds=0")).status_code == 200
    assert own.noted("kill") == ["start"]


@pytest.mark.parametrize("sig", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
async def test_a_worker_told_to_end_under_load_ends_its_work_and_claims_no_more(
    own: System, sig: signal.Signals
) -> None:
    leaving = own.worker(wait=False, FLOODGATE_WORKER_CONCURRENCY="4")
    gateway = own.gateway()
    await until_async(lambda: leaving.ready)
    async with asking(gateway) as client:
        await warmed(client, "/sleep")
        asked = [asyncio.create_task(client.get(f"/sleep?tag=drain-{n}&seconds=4")) for n in range(8)]
        await until_async(lambda: sum(bool(own.pids(f"drain-{n}")) for n in range(8)) == 4)
        # Longer than another worker takes to start: what it leaves behind was never claimed.
        staying = await asyncio.to_thread(own.worker, FLOODGATE_WORKER_CONCURRENCY="4")
        leaving.signal(sig)
        signal_s = time.monotonic()
        await asyncio.to_thread(leaving.process.wait, 6)
        assert time.monotonic() - signal_s < 5
        responses = await asyncio.gather(*asked)
    assert [response.status_code for response in responses] == [200] * 8
    for n in range(8):
        assert own.noted(f"drain-{n}") == ["start", "end"]
    assert sum(own.pids(f"drain-{n}")[0] == leaving.process.pid for n in range(8)) == 4
    assert staying.alive


async def test_work_that_does_not_end_in_time_is_given_back(own: System) -> None:
    leaving = own.worker(wait=False, factory="tests.engine.system.impatient:build", FLOODGATE_DRAIN_S="0.3")
    gateway = own.gateway()
    await until_async(lambda: leaving.ready)
    async with asking(gateway) as client:
        get = asyncio.create_task(client.get("/sleep?tag=get&seconds=5"))
        post = asyncio.create_task(client.post("/sleep?tag=post&seconds=5"))
        await until_async(lambda: bool(own.pids("get")) and bool(own.pids("post")))
        own.worker()
        leaving.signal(signal.SIGTERM)
        assert_problem(await post, 502)
        assert (await get).status_code == 200
    assert own.noted("post") == ["start", "stopped"]
    assert own.noted("get") == ["start", "stopped", "start", "end"]


async def test_who_disagrees_about_a_route_exchanges_none_of_its_tasks_and_says_so(rolling: System) -> None:
    newer = rolling.worker(wait=False, ROLLING_LEAST="3")
    gateway = rolling.gateway()
    await until_async(lambda: newer.ready)
    async with asking(gateway) as client:
        await until_async(lambda: httpx.get(f"{gateway.url}/same").status_code == 200)
        start_s = time.monotonic()
        refused = await client.get("/changed")
        assert time.monotonic() - start_s < 1
        assert_problem(refused, 503)
        assert refused.json()["title"] == "No worker"
        assert gateway.ready
        assert newer.ready
        await until_async(lambda: bool(gateway.said(route="GET /changed", level="warning")))
        assert not gateway.said(route="GET /same", level="warning")
        rolling.worker()
        assert (await client.get("/changed")).status_code == 200


async def test_another_project_under_the_same_namespace_is_an_error_line_of_both_gateways_and_another_release_is_none(
    rolling: System,
) -> None:
    rolling.worker()
    rolling.worker(ROLLING_LEAST="3")
    ours = rolling.gateway()
    theirs = rolling.gateway(FLOODGATE_HANDLERS="tests.engine.system.admission_handlers", wait=False)
    rolling.worker(FLOODGATE_HANDLERS="tests.engine.system.admission_handlers", wait=False)
    await until_async(lambda: all(app.said(event=OTHER_PROJECT, level="error") for app in (ours, theirs)), 15)
    assert len(ours.said(event=OTHER_PROJECT)) == 1


async def test_waiting_tasks_move_when_the_last_worker_of_their_release_leaves(rolling: System) -> None:
    older = rolling.worker(wait=False, FLOODGATE_WORKER_CONCURRENCY="1")
    gateway = rolling.gateway()
    await until_async(lambda: older.ready)
    async with asking(gateway) as client:
        await warmed(client, "/same")
        first = asyncio.create_task(client.get("/same?seconds=1.5"))
        await asyncio.sleep(0.2)
        waiting = [asyncio.create_task(client.get("/same")) for _ in range(3)]
        rolling.worker(ROLLING_LEAST="3")
        older.signal(signal.SIGTERM)
        responses = await asyncio.gather(first, *waiting)
    assert [response.status_code for response in responses] == [200] * 4


async def test_a_202_is_run_by_the_next_release_if_it_agrees_about_the_route(rolling: System) -> None:
    older = rolling.worker(wait=False, FLOODGATE_WORKER_CONCURRENCY="1")
    gateway = rolling.gateway()
    await until_async(lambda: older.ready)
    async with asking(gateway) as client:

        async def later(path: str) -> str:
            response = await client.get(path, headers={"Prefer": "respond-async"})
            assert response.status_code == 202
            return str(response.headers["location"])

        async def answer(place: str) -> httpx.Response:
            async with asyncio.timeout(10):
                while (response := await client.get(place)).status_code == 202:
                    await asyncio.sleep(0.05)
            return response

        for path in ("/same", "/changed"):
            await answer(await later(path))
        newer = await asyncio.to_thread(rolling.worker, ROLLING_LEAST="3")
        running = await later("/same?seconds=1.5")
        await asyncio.sleep(0.2)
        same, changed = [await later("/same") for _ in range(3)], await later("/changed")
        older.signal(signal.SIGTERM)
        for place in (running, *same):
            assert (await answer(place)).json() == "same"
        assert (await client.get(changed)).json()["state"] == "waiting"
        assert newer.ready


async def test_where_limits_differ_the_most_recently_started_version_decides(rolling: System) -> None:
    older = rolling.gateway(ROLLING_LIMIT="6")
    rolling.worker(ROLLING_LIMIT="2")
    async with asking(older) as client:
        answers = await asyncio.gather(*(client.get("/same?seconds=0.4") for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 2 + [503] * 6
        rolling.gateway(ROLLING_LIMIT="4")
        answers = await asyncio.gather(*(client.get("/same?seconds=0.4") for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [503] * 4

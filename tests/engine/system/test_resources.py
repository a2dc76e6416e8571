"""Resources in whole systems: opened by workers alone, who are ready after it and close after their last handler."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest

from floodgate.testing import SystemFactory
from shared import Resource, queued
from tests.engine.system.system import System, system, until

MODELS = """
import os, sys
if any("gateway_app" in word for word in sys.argv):
    raise RuntimeError("the gateway imported the models")
print("models imported", file=sys.stderr)

def load():
    if not os.path.exists(os.environ["WEIGHTS"]):
        raise FileNotFoundError("no weights yet")
    yield "a model"
    print("models closed", file=sys.stderr)
"""
HANDLERS = """
from typing import Annotated, Any
from shared import Resource, queued

@queued("/guess", 10)
def guess(word: str, model: Annotated[Any, Resource("models_of_shop:load")]) -> str:
    return f"{word}, says {model}"
"""

events: list[str] = []


async def open_desk() -> AsyncIterator[list[str]]:
    events.append("opened")
    yield events
    events.append("closed")


@queued("/desk/{item}", 10)
async def use(item: int, desk: Annotated[list[str], Resource(open_desk)], seconds: float = 0) -> int:
    await asyncio.sleep(seconds)
    desk.append("used")
    return item


@pytest.fixture(autouse=True)
def _anew() -> None:
    events.clear()


async def test_a_gateway_opens_nothing_and_shows_nothing(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, workers=0) as running:
        document = (await running.get("/openapi.json")).json()
        (await running.get("/desk/1")).json()
    parameters = document["paths"]["/desk/{item}"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["item", "seconds"]
    assert "desk" not in document["components"].get("schemas", {})
    assert events == []


async def test_each_worker_closes_after_its_last_handler(floodgate: SystemFactory) -> None:
    async with floodgate(__name__) as running:
        asking = asyncio.create_task(running.get("/desk/1", params={"seconds": 0.3}))
        await asyncio.sleep(0.1)
        await running.end_workers()
        assert (await asking).json() == 1
    assert events == ["opened", "used", "closed"]


async def test_a_worker_is_not_ready_and_takes_nothing_until_all_is_open(floodgate: SystemFactory) -> None:
    arrived = asyncio.Event()

    async def awaited() -> list[str]:
        await arrived.wait()
        return events

    async with floodgate(__name__, overrides={open_desk: awaited}, workers=0) as running:
        worker = running.start_worker()
        await asyncio.sleep(0.2)
        assert [w.ready for w in running.workers] == [False]
        assert (await running.get("/desk/1")).json()["title"] == "No worker"
        arrived.set()
        async with asyncio.timeout(2):
            while not worker.ready:
                await asyncio.sleep(0.01)
        assert (await running.get("/desk/1")).json() == 1


@pytest.mark.parametrize("in_thread", [False, True], ids=["async", "sync"])
async def test_a_worker_leaves_in_time_while_a_factory_hangs(floodgate: SystemFactory, in_thread: bool) -> None:
    async def hangs() -> list[str]:
        await asyncio.sleep(60)
        return events

    def hangs_in_thread() -> list[str]:
        time.sleep(2)
        return events

    override = hangs_in_thread if in_thread else hangs
    async with floodgate(__name__, overrides={open_desk: override}, workers=0) as running:
        running.start_worker()
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await running.end_workers()
        assert time.monotonic() - began < 1


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[System]:
    """A system whose handler asks for a resource by name; its file is not there yet."""
    (tmp_path / "models_of_shop.py").write_text(MODELS)
    (tmp_path / "shop.py").write_text(HANDLERS)
    env = {"PYTHONPATH": str(tmp_path), "WEIGHTS": str(tmp_path / "weights")}
    with system(tmp_path, redis_url, namespace, "shop", **env) as running:
        yield running


def test_a_name_is_imported_by_workers_only_who_try_until_it_opens(shop: System) -> None:
    worker, gateway = shop.worker(wait=False), shop.gateway()
    until(lambda: len(worker.said(event="a resource did not open")) > 1)
    assert (worker.status("/-/live"), worker.status("/-/ready")) == (200, 503)
    said = worker.said(event="a resource did not open")[0]
    assert said["resource"] == "models_of_shop:load"
    assert "FileNotFoundError: no weights yet" in said["traceback"]

    Path(shop.env["WEIGHTS"]).touch()
    until(lambda: worker.ready)
    assert httpx.get(f"{gateway.url}/guess?word=tea").json() == "tea, says a model"
    (operation,) = httpx.get(f"{gateway.url}/openapi.json").json()["paths"]["/guess"].values()
    assert [parameter["name"] for parameter in operation["parameters"]] == ["word"]

    worker.signal(signal.SIGTERM)
    worker.process.wait(5)
    assert [line["event"] for line in worker.lines() if line["event"].startswith("models")] == [
        "models imported",
        "models closed",
    ]
    assert gateway.alive

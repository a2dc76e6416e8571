"""Edge cases of connections to Redis: reset again and again under load, and a primary that is one no more."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.proxying import Proxy
from tests.engine.system.system import system, until_async

LASTS_S = 20
RESET_EVERY_S = 0.2
ASKED_EVERY_S = 0.01


@pytest.mark.slow
async def test_connections_that_are_reset_under_load_cost_hardly_an_answer(
    server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    statuses: list[int] = []
    with Proxy(server.port) as proxy, system(tmp_path, proxy.url, namespace) as running:
        apps = [running.gateway(wait=False), running.worker(), running.worker()]
        await until_async(lambda: apps[0].ready)
        end_s = time.monotonic() + LASTS_S

        async def resetting() -> None:
            while time.monotonic() < end_s:
                await asyncio.to_thread(proxy.reset)
                await asyncio.sleep(RESET_EVERY_S)

        async with httpx.AsyncClient(base_url=apps[0].url, timeout=10) as client:

            async def asking(number: int) -> None:
                method = "GET" if number % 2 else "POST"
                began_s = time.monotonic()
                answer = await client.request(method, f"/sleep?tag={method}-{number}&seconds=0.02")
                assert time.monotonic() - began_s < 8.5, "later than its deadline"
                statuses.append(answer.status_code)

            async with asyncio.TaskGroup() as group:
                group.create_task(resetting())
                for number in range(int(LASTS_S / ASKED_EVERY_S)):
                    group.create_task(asking(number))
                    await asyncio.sleep(ASKED_EVERY_S)
        assert all(app.alive for app in apps)
        started = Counter(line.split()[1] for line in running.notes.read_text().splitlines() if line[:5] == "start")
    print(Counter(statuses))
    # 0.98 on a machine with nothing else to do: what is under way at a reset is lost, and a busy one has more of it.
    assert statuses.count(200) / len(statuses) >= 0.95, Counter(statuses)
    assert [tag for tag, times in started.items() if times > 1 and tag.startswith("POST")] == []

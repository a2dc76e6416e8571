"""Edge cases of a single request: what is invalid, too large, raises or cannot be told.

Each test is a row of the table, against one running system; rows about processes
stand in `test_edge_processes`, those about time in `test_edge_leaving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import httpx
import pytest
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.conftest import MOST_BODY, MOST_RESULT, THREADS
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.edge_handlers.endings import SECRET, Ending
from tests.engine.system.system import App, System, until_async

GOOD = {"fullName": "Ada", "due": "2026-01-02T03:04:05Z"}
PLACE = "/inputs/12345678-1234-5678-1234-567812345678/2"
SINCE = f"{PLACE}?from=2026-01-01T00:00:00"
INVALID: dict[str, tuple[str, dict[str, Any]]] = {
    "path": ("/inputs/no-uuid/7?from=2026-01-01T00:00:00", {"json": GOOD}),
    "missing query": (PLACE, {"json": GOOD}),
    "query": (f"{PLACE}?from=never&limit=11&tag=a&tag=b&tag=c&tag=d", {"json": GOOD}),
    "body": (SINCE, {"json": {"full_name": "Ada"}}),
    "list as body": (SINCE, {"json": [1]}),
    "no JSON": (SINCE, {"content": b'{"fullName": ', "headers": {"content-type": "application/json"}}),
    "content type": (SINCE, {"content": b"a=1", "headers": {"content-type": "text/plain"}}),
    "no body": (SINCE, {}),
}


async def test_nothing_invalid_reaches_redis(client: httpx.AsyncClient, server: EmbeddedServer) -> None:
    def listen() -> list[str]:
        seen = []
        for command in monitor.listen():
            seen += [word for word in ("edge-invalid", "edge-valid") if word in str(command["command"])]
            if "edge-valid" in seen:
                break
        return seen

    with contextlib.closing(Redis.from_url(server.url)) as redis, redis.monitor() as monitor:
        seen = asyncio.create_task(asyncio.to_thread(listen))
        for path, request in INVALID.values():
            headers = {**request.get("headers", {}), "x-request-id": "edge-invalid"}
            assert (await client.post(path, **{**request, "headers": headers})).status_code == 422
        assert (await client.post(SINCE, json=GOOD, headers={"x-request-id": "edge-valid"})).status_code == 200
        assert await asyncio.wait_for(seen, 5) == ["edge-valid"]


async def test_a_body_that_says_it_is_too_large_is_answered_413(client: httpx.AsyncClient) -> None:
    response = await client.post(SINCE, content=b"x" * (MOST_BODY + 1), headers={"content-type": "application/json"})
    assert (response.status_code, response.json()) == (413, {"detail": "the body is too large"})


async def test_a_body_that_grows_too_large_is_answered_413_before_it_has_ended(gateway: App) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = "Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    writer.write(f"POST {SINCE} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    writer.write(b"%x\r\n" % (2 * MOST_BODY) + b"x" * (2 * MOST_BODY) + b"\r\n")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/results/unserialisable", "object"),
        ("/results/wrong", "int"),
        ("/results/not-a-number", "not JSON compliant"),
        (f"/results/large?size={MOST_RESULT}", "FLOODGATE_MAX_RESULT_BYTES"),
    ],
)
async def test_a_result_that_cannot_be_sent_is_500_at_once_and_its_reason_is_logged(
    client: httpx.AsyncClient, worker: App, path: str, reason: str
) -> None:
    start_s = time.monotonic()
    response = await client.get(path)
    assert time.monotonic() - start_s < 1
    assert_problem(response, 500)
    (line,) = worker.said(request_id=response.headers["x-request-id"])
    assert reason in line["traceback"]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("how", Ending)
async def test_whatever_a_handler_raises_is_500_and_the_worker_and_its_slot_live_on(
    client: httpx.AsyncClient, worker: App, edge: System, kind: str, how: Ending
) -> None:
    for _ in range(THREADS + 1):  # more often than the route has slots and the worker threads
        response = await client.get(f"/ends/{kind}/{how}")
        assert_problem(response, 500)
    (line,) = worker.said(request_id=response.headers["x-request-id"])
    assert "edge_handlers/endings.py" in line["traceback"]
    assert SECRET in line["traceback"]
    assert (await client.get("/ok")).status_code == 200
    assert worker.ready


async def test_never_more_than_max_concurrency_of_a_route_are_in_the_system(
    client: httpx.AsyncClient, edge: System
) -> None:
    limit = 5
    requests = [client.get(f"/narrow?tag=narrow&seconds=0.5&n={n}") for n in range(3 * limit)]
    responses = await asyncio.gather(*requests)
    assert sorted(response.status_code for response in responses) == [200] * limit + [503] * 2 * limit
    for refused in (response for response in responses if response.status_code == 503):
        assert_problem(refused, 503)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert edge.noted("narrow").count("start") == limit
    assert (await client.get("/narrow?tag=after&seconds=0")).status_code == 200


async def test_a_request_id_comes_back_and_a_bad_one_is_replaced(client: httpx.AsyncClient) -> None:
    given = await client.get("/ok", headers={"x-request-id": "My-id.1"})
    assert given.headers.get_list("x-request-id") == ["My-id.1"]
    drawn = [(await client.get("/ok")).headers["x-request-id"] for _ in range(2)]
    assert len(set(drawn)) == 2
    bad = await client.get("/ok", headers={"x-request-id": 'bad"id'})
    assert bad.headers["x-request-id"] not in {'bad"id', ""}
    assert (await client.get("/nowhere", headers={"x-request-id": "lost"})).headers["x-request-id"] == "lost"


async def test_a_request_is_one_line_of_log_with_id_route_outcome_and_times(
    client: httpx.AsyncClient, gateway: App
) -> None:
    await client.get("/sleep?tag=logged&seconds=0.1", headers={"x-request-id": "logged"})
    await until_async(lambda: bool(gateway.said(request_id="logged")))
    (line,) = gateway.said(request_id="logged")
    assert (line["route"], line["status"], line["outcome"]) == ("GET /sleep", 200, "done")
    assert 100 <= line["run_ms"] <= line["total_ms"]
    assert line["wait_ms"] < 1000


async def test_no_slot_stays_taken_after_all_of_this(edge: System, server: EmbeddedServer) -> None:
    keys = Keys(edge.env["FLOODGATE_NAMESPACE"])
    with contextlib.closing(Redis.from_url(server.url)) as redis:
        await until_async(lambda: redis.hlen(keys.of("tasks")) == 0)
        assert not list(redis.scan_iter(f"{keys.prefix}slots:*"))
        assert not list(redis.scan_iter(f"{keys.prefix}running:*"))

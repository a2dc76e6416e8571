"""A plain route sends handlers through the queue, and meets there whatever a client would meet."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from floodgate.declare.discovery import discover
from floodgate.gateway import Refused, call, caller_of
from floodgate.gateway.app import install
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from shared import Caller
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.extended.handlers.routes import SECRET, whoami
from tests.engine.system.extended.system import HANDLERS, KEY, PLACES, ask, extended_system
from tests.engine.system.system import App, System, until, until_async


@pytest.fixture(scope="module")
def extended(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with extended_system(server, tmp_path_factory) as running:
        yield running


@pytest.fixture
def gateway(extended: System) -> App:
    return extended.apps[0]


@pytest.mark.parametrize("case", ["everything", "results", "side_by_side"])
def test_what_is_called_gets_and_gives_typed_values(gateway: App, case: str) -> None:
    answer = ask(gateway, f"/call/{case}")
    assert answer.status_code == 200, answer.text


def test_calls_have_the_request_id_and_the_caller_of_their_route(gateway: App) -> None:
    told = ask(gateway, "/call/who", headers={**KEY, "x-request-id": "of-the-route"}).json()
    assert (told["id"], told["request_id"]) == ("ann", "of-the-route")
    until(lambda: gateway.said(request_id="of-the-route") != [])
    (line,) = gateway.said(request_id="of-the-route")
    assert (line["caller"], line["route"], line["outcome"]) == ("ann", "GET /call/who", "done")


def test_identify_is_asked_once_however_many_calls_a_route_makes(gateway: App) -> None:
    request_id = uuid.uuid4().hex
    assert ask(gateway, "/call/who", headers={**KEY, "x-request-id": request_id}).status_code == 200
    assert ask(gateway, f"/asked/{request_id}").json() == 1
    assert ask(gateway, "/me", headers={**KEY, "x-request-id": request_id}).json() == ["ann", "ann"]
    assert ask(gateway, f"/asked/{request_id}").json() == 2


@pytest.mark.parametrize(("key", "status"), [("", 401), ("banned", 403)])
def test_a_plain_route_cannot_call_for_whom_identify_refuses(gateway: App, key: str, status: int) -> None:
    assert ask(gateway, "/call/who", headers={"x-api-key": key}).status_code == status
    assert ask(gateway, "/me", headers={"x-api-key": key}).status_code == status


def test_a_call_waits_for_identify_no_longer_than_for_the_handler(gateway: App) -> None:
    start_s = time.monotonic()
    assert_problem(ask(gateway, "/call/late", headers={"x-api-key": "hangs"}), 504)
    assert time.monotonic() - start_s < 2


CAUGHT: dict[str, dict[str, Any]] = {
    "late": {"error": "DeadlineExceeded", "text": "GET /short: deadline_exceeded"},
    "gone": {"error": "HandlerFailed", "text": "GET /gone: 410", "status": 410, "detail": {"why": "sold"}},
    "broken": {"error": "HandlerFailed", "text": "GET /broken: failed", "status": 500, "detail": None},
    "unknown": {"error": "LookupError", "text": "full is not queued: only a function under @queued can be called"},
    "missing": {"error": "TypeError", "text": "keep needs item"},
}


@pytest.mark.parametrize(("case", "caught"), CAUGHT.items())
def test_a_call_without_a_result_raises_what_says_why(gateway: App, case: str, caught: dict[str, Any]) -> None:
    assert ask(gateway, f"/caught/{case}").json() == caught


def test_arguments_that_do_not_fit_raise_before_anything_is_sent(gateway: App) -> None:
    caught = ask(gateway, "/caught/invalid").json()
    assert caught["error"] == "TypeError"
    assert caught["text"].startswith("GET /listed: count: ")


@pytest.mark.parametrize(("case", "status"), [("late", 504), ("broken", 500), ("missing", 500)])
def test_what_a_route_does_not_catch_is_a_problem(gateway: App, case: str, status: int) -> None:
    answer = ask(gateway, f"/call/{case}")
    assert_problem(answer, status)
    assert SECRET not in answer.text


def test_a_status_that_a_route_does_not_catch_is_the_routes_own(gateway: App) -> None:
    called, queued = ask(gateway, "/call/gone"), ask(gateway, "/gone")
    assert (
        (called.status_code, called.json()) == (queued.status_code, queued.json()) == (410, {"detail": {"why": "sold"}})
    )
    assert called.headers["x-why"] == "sold"


@pytest.fixture
async def client(gateway: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=15, headers=KEY) as opened:
        yield opened


async def test_a_full_route_refuses_a_call_as_it_refuses_a_client(client: httpx.AsyncClient, extended: System) -> None:
    first = asyncio.create_task(client.get("/narrow?tag=first&seconds=0.5"))
    await until_async(lambda: extended.noted("first") == ["start"])
    caught, called, queued = [
        await client.get(path) for path in ("/caught/full", "/call/full", "/narrow?tag=a&seconds=0")
    ]
    assert caught.json()["error"] == "Refused"
    assert caught.json()["text"] == "GET /narrow: full"
    assert caught.json()["retry_after_s"] >= 1
    for refused in (called, queued):
        assert_problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
    assert (await first).status_code == 200
    assert extended.noted("refused") == []


@contextlib.asynccontextmanager
async def leaving(client: httpx.AsyncClient, path: str) -> AsyncIterator[None]:
    """Ask; the client leaves at the end of the block."""
    asked = asyncio.create_task(client.get(path))
    try:
        yield
    finally:
        asked.cancel()
        await asyncio.wait({asked})


async def test_a_client_that_leaves_stops_what_its_route_called(client: httpx.AsyncClient, extended: System) -> None:
    async with leaving(client, "/call/one?tag=running"):
        await until_async(lambda: extended.noted("running") == ["start"])
    assert await until_async(lambda: extended.noted("running") == ["start", "stopped"]) < 1


async def test_a_client_that_leaves_ends_all_calls_of_its_route_and_what_waits_never_runs(
    client: httpx.AsyncClient, extended: System
) -> None:
    async with leaving(client, "/call/fifty?tag=fifty"):
        await until_async(lambda: extended.noted("fifty") == ["start"] * PLACES)
    assert await until_async(lambda: extended.noted("fifty").count("stopped") == PLACES) < 1
    assert (await client.get("/sleep?tag=after&seconds=0")).status_code == 200
    assert extended.noted("fifty").count("start") == PLACES


async def test_a_call_after_the_client_has_left_is_ended_too(client: httpx.AsyncClient, extended: System) -> None:
    async with leaving(client, "/call/two_in_turn?tag=twice"):
        await until_async(lambda: extended.noted("twice") == ["start"])
    await until_async(lambda: extended.noted("twice") == ["start", "stopped"])
    await until_async(lambda: extended.noted("second-twice") == ["start", "stopped"])


async def test_a_route_may_read_its_body_after_a_call(client: httpx.AsyncClient) -> None:
    answer = await client.post("/reads-later", json={"a": "ü"})
    assert (answer.status_code, answer.json()) == (200, {"a": "ü"})


@pytest.mark.parametrize("sent", [("GET", {}), ("POST", {}), ("POST", {"content-length": "0"})])
async def test_a_route_may_read_the_body_that_is_not_there_after_a_call(
    client: httpx.AsyncClient, sent: tuple[str, dict[str, str]]
) -> None:
    method, headers = sent
    answer = await client.request(method, "/reads-nothing", headers=headers, timeout=5)
    assert (answer.status_code, answer.json()) == (200, 0)


async def test_a_route_may_call_for_every_chunk_of_its_body(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"chunk-{number}".encode()
            await asyncio.sleep(0.15)

    answer = await client.post("/imports", content=chunks())
    assert answer.json() == ["chunk-0", "chunk-1", "chunk-2"]


def test_a_worker_that_dies_is_lost_to_the_caller(gateway: App, extended: System) -> None:
    caught = ask(gateway, "/caught/lost").json()
    assert caught == {"error": "Lost", "text": "POST /dies: lost"}
    extended.worker()
    assert ask(gateway, "/whoami").status_code == 200


async def by_key(request: HTTPConnection) -> Caller | None:
    return Caller(request.headers["x-api-key"])


async def socket_that_calls(socket: WebSocket, catches: bool) -> None:
    await socket.accept()
    try:
        await call(whoami, request=socket)
    except Refused as error:
        if not catches:
            raise
        caller = await caller_of(socket)
        await socket.send_json([str(error), caller and caller.id, await socket.receive_text()])
    await socket.close()


async def test_a_websocket_may_call_and_keeps_its_messages(redis_url: str, namespace: str) -> None:
    settings = Settings(redis_url=SecretStr(redis_url), namespace=namespace, handlers=HANDLERS, drain_s=1)
    app = FastAPI()
    app.add_api_websocket_route("/socket/{catches}", socket_that_calls)
    install(app, settings, discover(settings), by_key)
    headers = [(name.encode(), value.encode()) for name, value in KEY.items()]
    sent: list[MutableMapping[str, Any]] = []

    async def connect(path: str) -> None:
        received = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "mine"}])

        async def receive() -> dict[str, str]:
            return next(received)

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await app({"type": "websocket", "path": path, "headers": headers, "query_string": b""}, receive, send)

    async with app.router.lifespan_context(app):
        await connect("/socket/true")
        assert json.loads(sent[1]["text"]) == ["GET /whoami: no_worker", "key-of-ann", "mine"]
        with pytest.raises(Refused):
            await connect("/socket/false")

"""Who asks is found out before anything else, and the user's routes and middleware live beside the queue."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request

from floodgate.declare.registry import Registry
from floodgate.gateway.app import install
from floodgate.operations.settings import Settings
from floodgate.run.embedded_server import EmbeddedServer
from gateway_app import main
from tests.engine.system.edge_assertions import assert_problem
from tests.engine.system.extended.extension import CLAIM, ORIGIN, SECRET
from tests.engine.system.extended.system import KEY, ask, commands, extended_system
from tests.engine.system.system import App, System, until


@pytest.fixture(scope="module")
def extended(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with extended_system(server, tmp_path_factory) as running:
        yield running


@pytest.fixture
def gateway(extended: System) -> App:
    return extended.apps[0]


def keyed(key: str, request_id: str = "") -> dict[str, str]:
    return {"x-api-key": key, "x-request-id": request_id or uuid.uuid4().hex}


LARGE = b"x" * (1 << 20 | 1)


class Chunked:
    """A body of unsaid length."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([LARGE])


REFUSED = {"": 401, "wrong": 401, "banned": 403, "lapsed": 401, "broken": 500, "hangs": 504, "untravelling": 500}


@pytest.mark.parametrize(("key", "status"), REFUSED.items())
def test_whoever_is_refused_costs_redis_nothing(server: EmbeddedServer, gateway: App, key: str, status: int) -> None:
    refused, accepted = uuid.uuid4().hex, uuid.uuid4().hex
    item = {"fullName": "a"}
    with commands(server) as sent:
        answer = ask(gateway, "/items", "POST", json=item, headers=keyed(key, refused))
        control = ask(gateway, "/items", "POST", json=item, headers=keyed("key-of-ann", accepted))
    assert (answer.status_code, control.status_code) == (status, 200)
    assert any(accepted in line for line in sent)
    assert not any(refused in line for line in sent)


@pytest.mark.parametrize(("key", "status"), [("", 401), ("banned", 403)])
def test_a_refusal_comes_before_the_body_is_read(gateway: App, key: str, status: int) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    head = f"POST /items HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(head.encode())  # and no body
        answer = client.recv(65536)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"x-request-id: " in answer


def test_who_asks_comes_before_what_is_asked(gateway: App) -> None:
    assert ask(gateway, "/items", "POST", content=LARGE, headers={}).status_code == 401
    assert ask(gateway, "/items", "POST", json={}, headers={}).status_code == 401
    assert ask(gateway, "/items", "POST", json={}).status_code == 422


def test_a_refusal_is_said_as_the_user_wrote_it(gateway: App) -> None:
    banned = ask(gateway, "/whoami", headers=keyed("banned"))
    assert banned.json() == {"detail": "not for you"}
    lapsed = ask(gateway, "/whoami", headers=keyed("lapsed"))
    assert (lapsed.json(), lapsed.headers["www-authenticate"]) == ({"detail": "lapsed"}, "Key")


def test_the_caller_arrives_in_the_worker_with_its_claims(gateway: App) -> None:
    told = ask(gateway, "/whoami", headers=keyed("key-of-ann", "mine")).json()
    claims = {"roles": ["buyer", CLAIM], "limit": 1.5, "since": None}
    assert told == {"id": "ann", "claims": claims, "request_id": "mine"}


def test_nobody_is_let_in_where_identify_says_so(gateway: App) -> None:
    assert ask(gateway, "/whoami", headers=keyed("nobody")).json()["id"] == ""


def test_the_log_has_the_callers_id_and_neither_claims_nor_keys(extended: System, gateway: App) -> None:
    ask(gateway, "/whoami", headers=keyed("key-of-ann", "logged"))
    until(lambda: gateway.said(request_id="logged") != [])
    (line,) = gateway.said(request_id="logged")
    assert (line["caller"], line["route"], line["status"]) == ("ann", "GET /whoami", 200)
    for app in extended.apps:
        log = app.log.read_text()
        assert CLAIM not in log
        assert "key-of-ann" not in log


def test_whoever_is_refused_has_a_line_in_the_log(gateway: App) -> None:
    ask(gateway, "/whoami", headers=keyed("banned", "refused-line"))
    until(lambda: gateway.said(request_id="refused-line") != [])
    (line,) = gateway.said(request_id="refused-line")
    assert (line["route"], line["status"]) == ("GET /whoami", 403)
    assert "caller" not in line


@pytest.mark.parametrize("key", ["broken", "untravelling"])
def test_an_identify_that_fails_is_500_without_its_text_and_the_gateway_goes_on(gateway: App, key: str) -> None:
    answer = ask(gateway, "/whoami", headers=keyed(key, f"failed-{key}"))
    assert_problem(answer, 500)
    assert SECRET not in answer.text
    assert answer.headers["x-request-id"] == f"failed-{key}"
    assert ask(gateway, "/whoami").status_code == 200


def test_an_identify_that_hangs_ends_with_the_handlers_time(gateway: App) -> None:
    start_s = time.monotonic()
    assert_problem(ask(gateway, "/items", "POST", json={"fullName": "a"}, headers=keyed("hangs")), 504)
    assert 0.55 < time.monotonic() - start_s < 2


def test_the_docs_show_the_security_scheme_on_queued_operations(gateway: App) -> None:
    document = ask(gateway, "/openapi.json", headers={}).json()
    scheme = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert document["components"]["securitySchemes"] == {"APIKeyHeader": scheme}
    assert document["paths"]["/items"]["post"]["security"] == [{"APIKeyHeader": []}]
    assert "security" not in document["paths"]["/own/hello"]["get"]
    assert ask(gateway, "/docs", headers={}).status_code == 200


def test_a_preflight_is_answered_on_a_queued_path(server: EmbeddedServer, gateway: App) -> None:
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST", "x-request-id": uuid.uuid4().hex}
    with commands(server) as sent:
        answer = ask(gateway, "/items", "OPTIONS", headers=preflight)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert not any(preflight["x-request-id"] in line for line in sent)


@pytest.mark.parametrize(
    ("headers", "status"), [(KEY, 200), ({}, 401), (keyed("hangs"), 504)], ids=["200", "401", "504"]
)
def test_users_middleware_sees_answers_and_refusals(gateway: App, headers: dict[str, str], status: int) -> None:
    answer = ask(gateway, "/items", "POST", json={"fullName": "a"}, headers={**headers, "origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["x-served-by"] == "us"
    assert "x-request-id" in answer.headers


def test_a_plain_route_and_a_router_are_open_and_not_queued(server: EmbeddedServer, gateway: App) -> None:
    request_id = uuid.uuid4().hex
    with commands(server) as sent:
        answer = ask(gateway, "/own/hello", headers={"x-request-id": request_id})
    assert (answer.status_code, answer.json()) == (200, {"hello": "from a router"})
    assert answer.headers["x-request-id"] == request_id
    assert not any(request_id in line for line in sent)


def test_queued_and_plain_routes_are_found_by_their_names(gateway: App) -> None:
    answer = ask(gateway, "/links")
    assert (answer.status_code, answer.json()) == (
        200,
        [f"{gateway.url}/whoami", "/everything/a/b", f"{gateway.url}/own/hello"],
    )
    assert ask(gateway, "/links/none").status_code == 404


def test_a_bug_in_a_plain_route_is_a_problem_without_its_text(gateway: App) -> None:
    answer = ask(gateway, "/bug", headers={"x-request-id": "a-bug"})
    assert_problem(answer, 500)
    assert SECRET not in answer.text
    assert (answer.headers["x-request-id"], answer.headers["connection"]) == ("a-bug", "close")


def test_the_log_says_500_of_a_bug(gateway: App) -> None:
    ask(gateway, "/bug", headers={"x-request-id": "logged-bug"})
    until(lambda: gateway.said(request_id="logged-bug", outcome="failed", status=500) != [])


def test_a_pipelining_client_that_leaves_is_one_that_left(extended: System, gateway: App) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    tag = f"pipelined-{uuid.uuid4().hex}"
    target = f"/sleep?tag={tag}&seconds=0.5"
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: key-of-ann\r\nX-Request-ID: {tag}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(head.encode() * 2)
        until(lambda: extended.noted(tag) == ["start"])
    until(lambda: gateway.said(request_id=tag) != [])
    assert [line["outcome"] for line in gateway.said(request_id=tag)] == ["client_left"]
    assert ask(gateway, "/whoami").status_code == 200
    log = gateway.log.read_text()
    assert "handler is closed" not in log
    assert "without completing" not in log
    assert extended.noted(tag) == ["start", "end"]


@pytest.mark.parametrize("path", ["/items", "/own/hello", "/-/live", "/nowhere"])
def test_a_head_beyond_64_kib_is_431_before_anything_else(server: EmbeddedServer, gateway: App, path: str) -> None:
    request_id = uuid.uuid4().hex
    headers = {**keyed("key-of-ann", request_id), "cookie": "a" * 40_000, "x-trace": "b" * 26_000}
    with commands(server) as sent:
        answer = ask(gateway, path, "POST", json={"fullName": "a"}, headers=headers)
    assert_problem(answer, 431)
    assert (answer.headers["x-request-id"], answer.headers["connection"]) == (request_id, "close")
    assert not any(request_id in line for line in sent)
    assert ask(gateway, f"/asked/{request_id}").json() == 0


@pytest.mark.parametrize("path", ["/whoami", "/-/live"])
def test_a_head_of_less_than_64_kib_is_taken(gateway: App, path: str) -> None:
    assert ask(gateway, path, headers={**KEY, "cookie": "a" * 60_000}).status_code == 200


@pytest.mark.parametrize("path", ["/items", "/reads-later"])
@pytest.mark.parametrize("content", [LARGE, Chunked()], ids=["declared", "chunked"])
def test_a_body_that_is_too_large_is_413_behind_users_middleware_too(gateway: App, path: str, content: Any) -> None:
    answer = ask(gateway, path, "POST", content=content, headers={**KEY, "origin": ORIGIN})
    assert (answer.status_code, answer.json()) == (413, {"detail": "the body is too large"})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answer.headers


def drip(gateway: App, target: str, framing: str, piece: bytes) -> tuple[bytes, float]:
    """Send a body piece by piece without an end; return what comes until the gateway closes, and the seconds."""
    host, port = gateway.url.removeprefix("http://").split(":")
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: key-of-ann\r\n"
    head += f"Content-Type: application/json\r\n{framing}\r\n\r\n"
    start_s, got = time.monotonic(), b""
    with socket.create_connection((host, int(port)), timeout=0.1) as client:
        client.sendall(head.encode())
        while time.monotonic() - start_s < 10:
            with contextlib.suppress(TimeoutError):
                if not (came := client.recv(65536)):
                    break
                got += came
            if not got:  # what comes after the end is answered with a reset, which takes the answer along
                with contextlib.suppress(OSError):
                    client.sendall(piece)
    return got, time.monotonic() - start_s


@pytest.mark.parametrize(
    ("framing", "piece"), [("Content-Length: 1000", b" "), ("Transfer-Encoding: chunked", b"1\r\n \r\n")]
)
def test_a_body_that_is_not_whole_in_time_is_408_and_takes_no_slot(
    gateway: App, server: EmbeddedServer, framing: str, piece: bytes
) -> None:
    request_id = uuid.uuid4().hex
    with commands(server) as sent:
        got, took_s = drip(gateway, "/items", f"X-Request-ID: {request_id}\r\n{framing}", piece)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert body == b'{"detail":"the body did not come in time"}'
    assert 1 <= took_s < 4
    assert not any(request_id in line for line in sent)


def test_a_silent_body_is_408_too(gateway: App) -> None:
    got, took_s = drip(gateway, "/items", "Content-Length: 1000", b"")
    assert got.startswith(b"HTTP/1.1 408 ")
    assert 1 <= took_s < 4


def test_a_large_body_that_nobody_reads_is_no_client_that_left(gateway: App) -> None:
    assert ask(gateway, "/sleep?tag=unread&seconds=0.2", content=LARGE).status_code == 200


def test_without_a_scheme_the_docs_show_none() -> None:
    app = install(FastAPI(), Settings(), Registry((), ""))
    assert "components" not in app.openapi()


def test_the_gateway_that_comes_along_lets_everybody_in(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("FLOODGATE_NAMESPACE", "any")
    assert "/plain" in main.build().openapi()["paths"]
    assert asyncio.run(main.identify(Request({"type": "http", "headers": []}))) is None

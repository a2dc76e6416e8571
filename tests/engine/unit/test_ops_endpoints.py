"""The operators' endpoints: who may see them, with and without a token, and by which forgeries nobody does."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from floodgate.operations.endpoints import Message, OpsEndpoints, Receive, Send, is_engine_path
from floodgate.operations.settings import Settings

TOKEN = "correct-horse-battery-staple"
LOCAL = ("127.0.0.1", 5000)
REMOTE = ("192.0.2.7", 5000)
BEARER = {"authorization": f"Bearer {TOKEN}"}
BROWSER = {"accept": "text/html,*/*"}


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


@dataclass(slots=True)
class Answer:
    """What came back; `status` 0 is a websocket that was closed."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    messages: list[Message] = field(default_factory=list)


async def page(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


async def ask(
    path: str = "/-/metrics",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    token: str | None = TOKEN,
    client: Any = LOCAL,
    server: Any = ("127.0.0.1", 8000),
    method: str = "GET",
    kind: str = "http",
    ready: bool = True,
    **scope: Any,
) -> Answer:
    """Send one request."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    asked = {"type": kind, "path": path, "method": method, "headers": raw, "client": client, "server": server, **scope}
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        answer.body += message.get("body", b"")

    endpoints = OpsEndpoints({"metrics": page}, None if token is None else SecretStr(token), lambda: ready)
    await endpoints(asked, receive, send)
    return answer


OWN = {"host": "localhost:8000"}
OPEN: list[dict[str, Any]] = [
    {"headers": OWN, "client": ("127.8.9.1", 1)},
    {"headers": OWN, "client": ("::1", 1, 0, 0), "server": ("::1", 8000, 0, 0)},
    {"headers": OWN, "client": ("::ffff:127.0.0.1", 1), "server": ("::ffff:127.0.0.1", 8000)},
    {"headers": {"host": "localhost:8000"}},
    {"headers": {"host": "127.0.0.1:8000", "sec-fetch-site": "none"}},
    {"headers": {"host": "[::1]:8000", "sec-fetch-site": "same-origin"}},
    {"headers": {"host": "gateway.localhost"}},
    {"headers": {"host": "One.my-gateway.LOCALHOST:80"}},
]


@pytest.mark.parametrize("asked", OPEN)
async def test_without_a_token_this_machine_itself_gets_through(asked: dict[str, Any]) -> None:
    assert (await ask(token=None, **asked)).body == b"the page"


CLOSED: list[dict[str, Any]] = [
    {},
    {"headers": OWN, "client": REMOTE},
    {"headers": OWN, "client": None},
    {"headers": OWN, "client": ("", 0)},
    {"headers": OWN, "client": ("testclient", 1)},
    {"headers": OWN, "client": ("::ffff:192.0.2.7", 1)},
    {"headers": OWN, "server": None},
    {"headers": OWN, "server": ("192.0.2.1", 8000)},
    {"headers": OWN, "server": ("/run/gateway.sock", None)},
    *(
        {"headers": {**OWN, name: "127.0.0.1"}}
        for name in (
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded",
            "x_forwarded_for",
            "X-Forwarded-For",
            "forwarded",
            "via",
            "x-real-ip",
            "cf-connecting-ip",
            "true-client-ip",
        )
    ),
    {"headers": {**OWN, "x-forwarded-for": ""}},
    {"headers": {"host": "example.com"}},
    {"headers": {"host": "127.0.0.1.example.com"}},
    {"headers": {"host": "localhost.example.com:8000"}},
    {"headers": [("host", "localhost"), ("host", "example.com")]},
    {"headers": {"host": ""}},
    {"headers": {"host": "evil.example/.localhost"}},
    {"headers": {"host": "evil.example?.localhost:8000"}},
    {"headers": {"host": "evil.example@x.localhost"}},
    {"headers": {"host": "evil.example\\.localhost"}},
    {"headers": {"host": "evil example.localhost"}},
    {"headers": {"host": ".localhost"}},
    {"headers": {"host": "a..localhost"}},
    {"headers": {"host": "localhost\n"}},
    {"headers": {"host": "localhost:8000:"}},
    {"headers": {**OWN, "sec-fetch-site": "cross-site"}},
    {"headers": {**OWN, "sec-fetch-site": "same-site"}},
    {"client": REMOTE, "headers": {**OWN, **BEARER}},
    {"client": REMOTE, "headers": {**OWN, "authorization": "Bearer "}},
    {"client": REMOTE, "headers": {**OWN, **BROWSER}},
    {"client": REMOTE, "headers": {**OWN, "authorization": "Basic "}},
    {"client": REMOTE, "headers": {**OWN, **basic(":")}},
]


@pytest.mark.parametrize("asked", CLOSED)
async def test_without_a_token_whoever_may_be_somebody_else_finds_nothing(asked: dict[str, Any]) -> None:
    answer = await ask(token=None, **asked)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_opens_from_anywhere_through_any_proxy(scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}", "x-forwarded-for": "192.0.2.9", "host": "example.com"}
    assert (await ask(headers=headers, client=REMOTE)).body == b"the page"


@pytest.mark.parametrize("user", ["", "operator", "ö", "a b"])
async def test_in_a_browser_the_token_is_the_password_of_any_user(user: str) -> None:
    asked = await ask(headers=BROWSER, client=REMOTE)
    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="operators"')
    assert (await ask(headers={**BROWSER, **basic(f"{user}:{TOKEN}")}, client=REMOTE)).body == b"the page"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Basic"},
        {"authorization": "Basic \xff\xfe"},
        {"authorization": "Basic ===="},
        basic(TOKEN),
        basic(f"{TOKEN}:"),
        basic(f":{TOKEN}:"),
        basic(f"user:{TOKEN}x"),
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"x-ops-token": TOKEN},
        {"cookie": f"floodgate_operator={TOKEN}"},
    ],
)
async def test_with_a_token_set_nothing_else_opens_not_even_this_machine(headers: dict[str, str]) -> None:
    for path in ("/-/metrics", "/-/", "/-/nothing", "/-/metrics?token=" + TOKEN):
        answer = await ask(path, headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="operators"')
        assert b"the page" not in answer.body


async def test_unknown_pages_are_404_for_operators_and_paths_elsewhere_for_anyone() -> None:
    for path in ("/-/", "/-/nothing", "/-/metrics/", "/-/metrics/more"):
        assert (await ask(path, BEARER)).status == 404
    for path in ("/metrics", "//evil.example/-/metrics", "/x/-/metrics", ""):
        assert (await ask(path, BEARER)).status == 404


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_live_and_ready_answer_anyone_with_a_status_and_nothing_else(token: str | None) -> None:
    for path, ready, status in (("live", False, 200), ("ready", False, 503), ("ready", True, 200)):
        headers = {"x-forwarded-for": "192.0.2.9"}
        answer = await ask(f"/-/{path}", headers, token=token, client=REMOTE, ready=ready)
        assert (answer.status, answer.body) == (status, b"")
    assert (await ask("/-/live", token=token, method="POST")).status == 405
    assert (await ask("/-/live/", token=token, client=REMOTE)).status == (401 if token else 404)


@pytest.mark.parametrize(("root", "path"), [("/api", "/api/-/metrics"), ("/api", "/-/metrics"), ("", "/-/metrics")])
async def test_it_is_the_same_under_a_root_path(root: str, path: str) -> None:
    assert is_engine_path({"path": path, "root_path": root})
    assert (await ask(path, BEARER, root_path=root)).status == 200
    assert (await ask(path, root_path=root)).status == 401
    assert (await ask(path, root_path=root, token=None, client=REMOTE)).status == 404


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_a_websocket_is_closed(token: str | None) -> None:
    answer = await ask(kind="websocket", token=token, client=REMOTE)
    assert answer.messages == [{"type": "websocket.close", "code": 1008}]


async def test_every_answer_says_not_to_keep_or_frame_it() -> None:
    for answer in (await ask(), await ask(headers=BROWSER), await ask("/-/live"), await ask("/-/x", BEARER)):
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_no_answer_repeats_what_was_sent() -> None:
    for headers in ({}, BROWSER, {**BROWSER, "authorization": "Bearer <script>"}):
        answer = await ask('/-/"><script>', headers)
        assert b"<script>" not in answer.body


def test_a_token_is_long_enough_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOODGATE_OPS_TOKEN", "")
    assert Settings().ops_token is None
    monkeypatch.setenv("FLOODGATE_OPS_TOKEN", "brief-secret")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "ops_token" in str(refused.value)
    assert "brief" not in str(refused.value)
    monkeypatch.setenv("FLOODGATE_OPS_TOKEN", TOKEN)
    assert TOKEN not in repr(Settings())

"""The operators' gate: who gets through, with and without a token, and by which forgeries nobody does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr, ValidationError

from floodgate.operations.auth import COOKIE, SESSION_S, OpsAuth
from floodgate.operations.endpoints import Message, OpsEndpoints, Pages, Receive, Send, is_engine_path
from floodgate.operations.settings import Settings

TOKEN = "correct-horse-battery-staple"
NEAR = ("127.0.0.1", 5000)
FAR = ("192.0.2.7", 5000)
BEARER = {"authorization": f"Bearer {TOKEN}"}


@dataclass(slots=True)
class Outcome:
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
    client: Any = NEAR,
    server: Any = ("127.0.0.1", 8000),
    method: str = "GET",
    body: bytes = b"",
    kind: str = "http",
    ready: bool = True,
    **scope: Any,
) -> Outcome:
    """Send one request through a gate."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    asked = {"type": kind, "path": path, "method": method, "headers": raw, "client": client, "server": server, **scope}
    answer = Outcome()
    parts = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Message) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        answer.body += message.get("body", b"")

    gate = OpsEndpoints(Pages({"metrics": page}), None if token is None else SecretStr(token), lambda: ready)
    await gate(asked, receive, send)
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
    {"headers": OWN, "client": FAR},
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
    {"client": FAR, "headers": {**OWN, **BEARER}},
    {"client": FAR, "headers": {**OWN, "authorization": "Bearer "}},
    {"client": FAR, "headers": {**OWN, "cookie": f"{COOKIE}={OpsAuth(None).session()}"}},
    {"client": FAR, "headers": OWN, "path": "/-/sign-in"},
    {"client": FAR, "headers": OWN, "path": "/-/sign-in", "method": "POST", "body": b"token="},
]


@pytest.mark.parametrize("asked", CLOSED)
async def test_without_a_token_whoever_may_be_somebody_else_finds_nothing(asked: dict[str, Any]) -> None:
    answer = await ask(token=None, **asked)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_opens_from_anywhere_through_any_proxy(scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}", "x-forwarded-for": "192.0.2.9", "host": "example.com"}
    assert (await ask(headers=headers, client=FAR)).body == b"the page"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"x-ops-token": TOKEN},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}=99999999999.{'0' * 64}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": f"{COOKIE}=9²9.x"},
    ],
)
async def test_with_a_token_set_nothing_else_opens_not_even_this_machine(headers: dict[str, str]) -> None:
    for path in ("/-/metrics", "/-/", "/-/nothing", "/-/metrics?token=" + TOKEN):
        answer = await ask(path, headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="operators"')
        assert b"the page" not in answer.body


async def test_unknown_pages_are_404_behind_the_gate_and_a_path_that_is_no_page_anywhere() -> None:
    for path in ("/-/", "/-/nothing", "/-/metrics/", "/-/metrics/more"):
        assert (await ask(path, BEARER)).status == 404
    for path in ("/metrics", "//evil.example/-/sign-in", "/x/-/metrics", ""):
        assert (await ask(path, BEARER)).status == 404


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_live_and_ready_answer_anyone_with_a_status_and_nothing_else(token: str | None) -> None:
    for path, ready, status in (("live", False, 200), ("ready", False, 503), ("ready", True, 200)):
        headers = {"x-forwarded-for": "192.0.2.9"}
        answer = await ask(f"/-/{path}", headers, token=token, client=FAR, ready=ready)
        assert (answer.status, answer.body) == (status, b"")
    assert (await ask("/-/live", token=token, method="POST")).status == 405
    assert (await ask("/-/live/", token=token, client=FAR)).status == (401 if token else 404)


@pytest.mark.parametrize(("root", "path"), [("/api", "/api/-/metrics"), ("/api", "/-/metrics"), ("", "/-/metrics")])
async def test_it_is_the_same_gate_under_a_root_path(root: str, path: str) -> None:
    assert is_engine_path({"path": path, "root_path": root})
    assert (await ask(path, BEARER, root_path=root)).status == 200
    assert (await ask(path, root_path=root)).status == 401
    assert (await ask(path, root_path=root, token=None, client=FAR)).status == 404


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_a_websocket_is_closed(token: str | None) -> None:
    answer = await ask(kind="websocket", token=token, client=FAR)
    assert answer.messages == [{"type": "websocket.close", "code": 1008}]


def form(**fields: str) -> dict[str, Any]:
    return {"path": "/-/sign-in", "method": "POST", "body": urlencode(fields).encode()}


async def test_a_person_signs_in_and_is_sent_to_the_page_they_asked_for() -> None:
    asked = await ask(headers={"accept": "text/html,*/*"}, client=FAR)
    assert asked.status == 401
    assert asked.headers["content-type"].startswith("text/html")
    assert 'action="/-/sign-in"' in asked.body.decode()
    page_asked = re.search(r'name="next" value="([^"]*)"', asked.body.decode())
    assert page_asked is not None

    signed_in = await ask(**form(token=TOKEN, next=page_asked[1]), client=FAR)
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/-/metrics")
    cookie = SimpleCookie(signed_in.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/-/")
    assert cookie["secure"] == ""
    assert TOKEN not in str([signed_in.headers, signed_in.body])

    opened = await ask(headers={"cookie": f"other=1; {COOKIE}={cookie.value}; more=2"}, client=FAR)
    assert opened.body == b"the page"


async def test_over_https_the_cookie_is_for_https_only() -> None:
    assert "; Secure" in (await ask(**form(token=TOKEN), scheme="https")).headers["set-cookie"]


@pytest.mark.parametrize("fields", [{"token": "wrong"}, {"token": ""}, {}, {"token": TOKEN + " "}, {"next": TOKEN}])
async def test_a_wrong_token_signs_nobody_in(fields: dict[str, str]) -> None:
    answer = await ask(**form(**fields))
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "../../x", "a/../../x", "\\evil", "x\r\nset-cookie: a=b", "", "?a=b"],
)
async def test_a_sign_in_leads_to_no_other_place(to: str) -> None:
    assert (await ask(**form(token=TOKEN, next=to))).headers["location"] == "/-/metrics"


async def test_what_is_shown_of_a_path_is_text() -> None:
    answer = await ask('/-/"><script>', {"accept": "text/html"})
    assert b"<script>" not in answer.body


async def test_a_large_form_is_not_read() -> None:
    assert (await ask("/-/sign-in", method="POST", body=b"token=" + b"x" * 10_000)).status == 413


async def test_a_form_of_bytes_that_are_no_text_is_a_wrong_token() -> None:
    assert (await ask("/-/sign-in", method="POST", body=b"\xff\xfe=%ff&token=%ff")).status == 401


async def test_every_answer_of_the_gate_says_not_to_keep_or_frame_it() -> None:
    for answer in (await ask(), await ask("/-/sign-in"), await ask(**form(token=TOKEN)), await ask("/-/x", BEARER)):
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_session_ends_with_its_time_and_with_its_token() -> None:
    now_s = 1_000_000.0
    keyring = OpsAuth(SecretStr(TOKEN), lambda: now_s)
    cookie = [(b"cookie", f"{COOKIE}={keyring.session()}".encode())]
    assert keyring.opens(cookie)
    now_s += SESSION_S - 1
    assert keyring.opens(cookie)
    assert not OpsAuth(SecretStr(TOKEN + "2"), lambda: now_s).opens(cookie)
    now_s += 1
    assert not keyring.opens(cookie)


def test_a_session_whose_end_is_moved_is_none() -> None:
    keyring = OpsAuth(SecretStr(TOKEN))
    ends_s, _, mark = keyring.session().partition(".")
    later = f"{int(ends_s) + 1}.{mark}"
    assert not keyring.opens([(b"cookie", f"{COOKIE}={later}".encode())])


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

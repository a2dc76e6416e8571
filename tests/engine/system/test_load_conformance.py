"""Every kind of handler is asked for what it takes, without a line written for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import httpx
import pytest

from floodgate.peak.openapi import Ask, fetch
from floodgate.peak.traffic import askable
from floodgate.peak.values import Values
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.system.system import App, served

HANDLERS = "tests.engine.conformance.handlers"
EACH = 2
ON_PURPOSE = {
    "GET /errors/ours": 401,
    "GET /errors/bug": 500,
    "GET /errors/unsendable": 500,
    "GET /replies/picture": 404,
    "GET /replies/problem": 410,
    "GET /results/surrogate": 500,
    "GET /results/wrong": 500,
}
"""What these answer, at least sometimes, whatever they are asked. `/errors/fastapis` answers with what it is told."""
IMPOSSIBLE = "GET /queries/alias-type"
"""FastAPI lets its model forbid the parameter beside it, so nothing at all is valid."""


@pytest.fixture(scope="module")
def gateway(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A gateway of the conformance suite, with a worker that takes work of every level."""
    with served(server, tmp_path_factory, HANDLERS) as running:
        yield running.apps[0]


def test_every_operation_of_the_suite_is_asked_for_what_it_takes(gateway: App) -> None:
    document = fetch(gateway.url)
    found, complaints = askable(document)
    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert complaints == []
    assert {operation.route for operation in found} == routes
    assert len(routes) > 100

    values = Values(document, random.Random(1))
    with httpx.Client(base_url=gateway.url, timeout=15) as client:
        asks = [operation.ask(values) for operation in found for _ in range(EACH)]
        answers = [(ask, sent(client, ask)) for ask in asks]

    bad = {(ask.route, answer.status_code) for ask, answer in answers if answer.status_code >= 400}
    assert {route for route, status in bad if status == 422} == {IMPOSSIBLE}
    assert {each for each in bad if each[0] not in ("GET /errors/fastapis", IMPOSSIBLE)} <= set(ON_PURPOSE.items())


def sent(client: httpx.Client, ask: Ask) -> httpx.Response:
    lines = [(name, text) for name, given in ask.headers.items() for text in _lines(given)]
    return client.request(ask.method, ask.path, headers=lines, content=ask.body)


def _lines(given: str | list[str]) -> list[str]:
    return given if isinstance(given, list) else [given]


def test_the_examples_of_a_declaration_are_what_is_asked(gateway: App) -> None:
    document = fetch(gateway.url)
    (operation,) = [each for each in askable(document)[0] if each.route == "POST /presented/examples/{n}"]
    asks = [operation.ask(Values(document, random.Random(seed))) for seed in range(20)]
    assert {ask.path.partition("?")[0] for ask in asks} == {"/presented/examples/2", "/presented/examples/97"}
    assert {ask.path.partition("?")[2] for ask in asks} == {"word=tea&size=3&old=b"}
    assert {ask.body for ask in asks} == {b'{"weight": 1.5}'}
    assert all(_has(ask.headers, "X-Tag", "a") for ask in asks)


def _has(headers: Mapping[str, str | list[str]], name: str, value: str) -> bool:
    return headers.get(name) == value

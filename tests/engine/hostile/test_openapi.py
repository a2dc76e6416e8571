"""What the OpenAPI documents of the demo and of the conformance handlers allow, and more, against running systems.

Two seeds: one that is always the same, and a new one, which is printed. Every answer
has to be one that the document, HTTP or the handler accounts for; a 500 only where the
worker has logged what the handler raised.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.hostile.requests import HostileRequest, requests_of
from tests.engine.system.system import App, System, resident, served, until

SEED = 20261125
LASTS_S = 22.0
"""Of each seed and document: all of them are less than two minutes."""
MOST_GROWTH = 96 << 20
ALWAYS = {307, 400, 404, 405, 408, 413, 422, 429, 431, 503, 504}
"""Statuses of FastAPI and the engine that no handler has to declare. 404, and 307 to it without a slash: a path
parameter that makes another path."""
OWN_STATUSES: dict[str, Collection[int]] = {
    "/orders": {409},
    "/replies/typed": {201},
    "/replies/bare": {202},
    "/replies/moved": {307},
    "/replies/problem": {410},
    "/errors/ours": {401},
    "/errors/fastapis": range(200, 600),
    "/errors/unsendable": {409},
    "/streams/reply": {202},
}
"""By operation, what a handler answers of its own that its declaration does not say: FastAPI asks for no more."""
BROKEN = {"/streams/lines-misannotated"}
"""Streams that their handler breaks after the head."""
TELLTALE = re.compile(rb"Traceback|site-packages|floodgate[/.](gateway|worker|broker|declare)|redis\.exc|\.py\\b")
"""What only the text of an exception has."""
OF_HANDLERS = re.compile(r"/handlers/\w+\.py|floodgate/worker/serialization\.py")
"""Where a traceback passes whose handler raised, or whose result is none that its annotation allows."""


QUIET = settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


@pytest.fixture(scope="module", params=["shared.handlers", "tests.engine.conformance.handlers"])
def running(
    request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    orders = tmp_path_factory.mktemp("orders") / "orders.sqlite3"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ORDERS_DB", str(orders))
        with served(server, tmp_path_factory, request.param, drain_s=30) as system:
            yield system


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [SEED, random.SystemRandom().randrange(1 << 32)], ids=["fixed", "fresh"])
def test_every_answer_is_accounted_for(running: System, chosen: int) -> None:
    print(f"seed {chosen}")
    gateway, worker = running.apps
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    statuses: Counter[int] = Counter()
    failed: dict[str, HostileRequest] = {}
    before = [resident(app) for app in running.apps]
    ends_s = time.monotonic() + LASTS_S
    with httpx.Client(base_url=gateway.url, timeout=20) as client:

        def answered(request: HostileRequest) -> None:
            if time.monotonic() > ends_s:
                return
            if (
                request.template == "/levels/job"
            ):  # its own function gives levels that there are not: a 500 of the user's
                return
            if request.template.startswith("/streams/") and "n=" in request.target:
                return  # as many items as the client asks for: a number of twenty digits is an answer without end
            try:
                response = send(client, request)
            except httpx.RemoteProtocolError:
                assert request.template in BROKEN
                return
            statuses[response.status_code] += 1
            declared = document["paths"][request.template][request.method.lower()]["responses"]
            allowed = {int(status) for status in declared} | ALWAYS | set(OWN_STATUSES.get(request.template, ()))
            assert response.status_code in allowed, (response.status_code, response.text[:500])
            if response.status_code >= 400:
                assert not TELLTALE.search(response.content), response.text[:500]
            if response.status_code == 500:
                failed[response.headers["x-request-id"]] = request

        for batch in itertools.count():
            if time.monotonic() > ends_s:
                break
            seed(chosen + batch)(QUIET(given(requests_of(document))(answered)))()
    print(dict(sorted(statuses.items())))
    assert statuses[200] > 20, "hardly a request was valid"
    assert gateway.ready
    assert worker.ready
    for app, size in zip(running.apps, before, strict=True):
        assert resident(app) < size + MOST_GROWTH
        assert [line for line in app.lines() if "logger" not in line and "Traceback" in str(line["event"])] == []
    assert not gateway.said(level="error")
    until(lambda: failed.keys() <= explained(worker))


def send(client: httpx.Client, request: HostileRequest) -> httpx.Response:
    url = client.base_url.copy_with(raw_path=request.target.encode("ascii"))
    headers = [(name.encode(), text.encode("latin-1")) for name, text in request.headers]
    return client.send(httpx.Request(request.method, url, headers=headers, content=request.body))


def explained(worker: App) -> set[str]:
    """Return the requests whose handler, or whose result, raised, as the worker has logged it."""
    return {
        str(line["request_id"]) for line in worker.said(event="handler failed") if OF_HANDLERS.search(json.dumps(line))
    }

"""What others put around an application works around one that has queued routes: sessions, gzip, OpenTelemetry."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from fastapi import FastAPI, Request
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from floodgate.gateway import join
from floodgate.testing import SystemFactory
from shared import Caller, HTTPError, queued

LONG = 2000


@queued("/others/quick", 10)
async def quick() -> str:
    return "x" * LONG


@queued("/others/fails", 10)
async def fails() -> None:
    raise HTTPError(418, "a teapot")


@queued("/others/{name}/named", 10)
async def named(name: str) -> str:
    return name


async def by_session(request: Request) -> Caller | None:
    name = request.session.get("name")
    request.session["visits"] = request.session.get("visits", 0) + 1
    return None if name is None else Caller(name)


def with_sessions() -> FastAPI:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=100)
    app.add_middleware(SessionMiddleware, secret_key="a-key-of-this-test")

    @app.post("/login")
    async def login(request: Request, name: str) -> None:
        request.session["name"] = name

    return join(app, identify=by_session)


async def test_a_session_is_read_by_identify_and_written_with_the_answer(floodgate: SystemFactory) -> None:
    async with floodgate(__name__, gateway=with_sessions) as system:
        await system.post("/login?name=ann")
        answer = await system.get("/others/quick", headers={"accept-encoding": "gzip"})
        assert answer.text == f'"{"x" * LONG}"'
        assert answer.headers["content-encoding"] == "gzip"
        assert "session=" in answer.headers["set-cookie"]
        assert "x-request-id" in answer.headers


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def instrumented(exporter: InMemorySpanExporter, before: bool) -> Callable[[], FastAPI]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def build() -> FastAPI:
        app = FastAPI()
        if before:
            FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["receive", "send"])
        join(app)
        if not before:
            FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["receive", "send"])
        return app

    return build


@pytest.mark.parametrize("before", [True, False], ids=["before-join", "after-join"])
async def test_opentelemetry_sees_queued_requests(
    floodgate: SystemFactory, spans: InMemorySpanExporter, before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with floodgate(__name__, gateway=instrumented(spans, before)) as system:
        assert (await system.get("/others/quick")).status_code == 200
        assert (await system.get("/others/fails")).status_code == 418
        assert (await system.get("/others/ann/named")).status_code == 200
        answer = await system.get("/others/quick?x=1")
        assert "x-request-id" in answer.headers
        FastAPIInstrumentor.uninstrument_app(system.app)
    told = [(span.name, (span.attributes or {}).get("http.status_code")) for span in spans.get_finished_spans()]
    assert told == [
        ("GET /others/quick", 200),
        ("GET /others/fails", 418),
        ("GET /others/{name}/named", 200),
        ("GET /others/quick", 200),
    ]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

"""What `join` promises of an application: it stays the user's own, whatever serves it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from floodgate.errors import ConfigurationError, FloodgateError, Unavailable
from floodgate.gateway import call, join
from floodgate.gateway.app import GatewayApp, install
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.rate_limit import RateLimited
from floodgate.testing import System, SystemFactory
from shared import HTTPError
from tests.engine import joining
from tests.engine.joining import answer, application, quick

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have httpx2
    from fastapi.testclient import TestClient

T = TypeVar("T")


@pytest.fixture
async def beside(floodgate: SystemFactory) -> AsyncIterator[System]:
    """A worker, and a gateway of its own."""
    async with floodgate(joining.__name__, gateway=lambda: join(FastAPI())) as system:
        yield system


async def under_test_client(app: FastAPI, ask: Callable[[TestClient], T], **options: Any) -> T:
    """Run an application under FastAPI's own client, in a thread and a loop of its own."""

    def run() -> T:
        with TestClient(app, **options) as client:
            return ask(client)

    return await asyncio.to_thread(run)


async def test_it_stays_the_user_s_application(beside: System) -> None:
    given = application(title="mine")
    app = install(given, beside.settings, beside.registry)
    app.dependency_overrides[answer] = lambda: "another"

    def ask(client: TestClient) -> None:
        document = client.get("/openapi.json").json()
        assert document["info"]["title"] == "mine"
        assert {"/quick/{n}", "/static", "/plain"} <= set(document["paths"])
        plain = client.get("/plain").json()
        assert plain == {"found": "another", "state": "by the lifespan", "url": "http://testserver/quick/3"}
        assert client.get("/quick/7").json() == 7
        assert app.state.first == 1

    assert app is given
    assert isinstance(app, GatewayApp)
    await under_test_client(app, ask)


async def test_it_may_be_started_again(beside: System) -> None:
    app = install(application(), beside.settings, beside.registry)
    for _ in range(2):
        assert await under_test_client(app, lambda client: client.get("/static").json()) == "queued"
        assert isinstance(app, GatewayApp)
        assert not app.ready


async def test_a_request_passes_the_id_the_user_s_middleware_the_body_s_limit_and_the_routes(beside: System) -> None:
    app = install(application(), beside.settings.model_copy(update={"max_body_bytes": 10}), beside.registry)

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    def ask(client: TestClient) -> list[tuple[int, str, bool]]:
        answers = [
            client.get("/static"),
            client.get("/nowhere"),
            client.post("/echo", content=b"x" * 11),
            client.post("/echo", content=b"x"),
        ]
        return [(a.status_code, a.headers["x-mine"], "x-request-id" in a.headers) for a in answers]

    # The user's middleware saw the 413, and no request id yet in any answer.
    assert await under_test_client(app, ask) == [(s, f"{s} False", True) for s in (200, 404, 413, 200)]


class Counting(FastAPI):
    """A user's own class."""

    calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize("options", [{}, {"root_path": "/api"}], ids=str)
async def test_a_class_of_the_user_s_and_a_root_path_are_kept(beside: System, options: dict[str, Any]) -> None:
    app = install(Counting(), beside.settings, beside.registry)

    def ask(client: TestClient) -> list[Any]:
        return [client.get(path).json() for path in ("/static", "/quick/7")]

    assert await under_test_client(app, ask, **options) == ["queued", 7]
    assert app.calls == 3  # with the lifespan
    assert type(app).__name__ == "Counting"


class Mine(Exception):
    pass


async def test_the_user_s_exception_handlers_apply_and_the_engine_s_where_he_has_none(beside: System) -> None:
    def saying(status: int) -> Callable[[Request, Exception], Response]:
        return lambda request, error: PlainTextResponse(type(error).__name__, status)

    errors = {
        "mine": Mine(),
        "http": HTTPError(409, "not now"),
        "unavailable": Unavailable("a bug in the plain route"),
        "late": RateLimited(Outcome(failure=Failure.RATE)),
        "other": LookupError(),
    }
    asked: dict[str, list[tuple[int, str]]] = {}
    for who in ("none", "his", "his base", "his later"):
        app = FastAPI()

        @app.get("/raises/{name}")
        async def raises(name: str) -> None:
            raise errors[name]

        handlers: dict[Any, Any] = {}
        if who == "his":
            handlers = {Mine: saying(420), HTTPError: saying(421), RateLimited: saying(422), 500: saying(423)}
        elif who == "his base":
            handlers = {FloodgateError: saying(421), RequestValidationError: saying(424)}
        app.exception_handlers.update(handlers)
        install(app, beside.settings, beside.registry)
        if who == "his later":
            app.add_exception_handler(HTTPError, saying(421))

        def ask(client: TestClient) -> list[tuple[int, str]]:
            answers = [client.get(f"/raises/{name}") for name in errors] + [client.get("/quick/x")]
            return [(a.status_code, a.headers.get("content-type", "").partition(";")[0]) for a in answers]

        asked[who] = await under_test_client(app, ask, raise_server_exceptions=False)
    problem, json, text = "application/problem+json", "application/json", "text/plain"
    assert asked["none"] == [(500, problem), (409, json), (500, problem), (429, problem), (500, problem), (422, json)]
    assert asked["his"] == [(420, text), (421, text), (423, text), (422, text), (423, text), (422, json)]
    assert asked["his base"] == [(500, problem), (421, text), (421, text), (429, problem), (500, problem), (424, text)]
    assert asked["his later"][1] == (421, text)


def plainly(app: FastAPI) -> None:
    app.add_api_route("/static", answer)


def with_another_name(app: FastAPI) -> None:
    app.add_api_route("/quick/{m}", answer)


def by_a_router(app: FastAPI) -> None:
    router, inner = APIRouter(prefix="/sta"), APIRouter()
    inner.add_api_route("tic", answer)
    router.include_router(inner)
    app.include_router(router)


def in_a_mounted_application(app: FastAPI) -> None:
    mounted = FastAPI()
    mounted.add_api_route("/{n}", answer)
    app.mount("/quick", mounted)


def as_a_route_of_starlette(app: FastAPI) -> None:
    app.router.routes.append(Mount("/", routes=[Route("/static", lambda request: PlainTextResponse("x"))]))


def of_the_engine(app: FastAPI) -> None:
    app.add_api_route("/tasks/{id}", answer, methods=["DELETE"])


CLASHING = [
    plainly,
    with_another_name,
    by_a_router,
    in_a_mounted_application,
    as_a_route_of_starlette,
    of_the_engine,
]


@pytest.mark.parametrize("later", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("add", CLASHING)
async def test_a_route_that_would_be_hidden_is_an_error_at_the_start(
    beside: System, add: Callable[[FastAPI], None], later: bool
) -> None:
    app = FastAPI()
    if not later:
        add(app)
    install(app, beside.settings, beside.registry)
    if later:
        add(app)
    with pytest.raises(ConfigurationError, match="give one of them another path"):
        await app.router.lifespan_context(app).__aenter__()


async def test_another_method_or_path_is_no_clash(beside: System) -> None:
    app = FastAPI()
    app.add_api_route("/static", answer, methods=["POST"])
    app.add_api_route("/static/{n}", answer)
    app.mount("/quick/other", FastAPI())
    app = install(app, beside.settings, beside.registry)
    assert await under_test_client(app, lambda client: client.post("/static").json()) == "given"


async def test_joining_twice_or_after_the_first_request_is_an_error(beside: System) -> None:
    with pytest.raises(ConfigurationError, match="before; call it once"):
        install(install(FastAPI(), beside.settings, beside.registry), beside.settings, beside.registry)
    app = FastAPI()
    with TestClient(app) as client:
        client.get("/")
    with pytest.raises(ConfigurationError, match="after the first request"):
        install(app, beside.settings, beside.registry)


async def test_a_mounted_application_is_told_where_a_call_works(beside: System) -> None:
    app, mounted = FastAPI(), FastAPI()

    @mounted.get("/calls")
    async def calls(request: Request) -> int:
        return await call(quick, n=1, request=request)

    app.mount("/sub", mounted)
    install(app, beside.settings, beside.registry)
    with pytest.raises(LookupError, match="belongs to a mounted application"):
        await under_test_client(app, lambda client: client.get("/sub/calls"))


async def test_an_application_that_was_not_started_says_how_it_is(beside: System) -> None:
    outer = FastAPI()
    outer.mount("/sub", install(FastAPI(), beside.settings, beside.registry))
    with pytest.raises(ConfigurationError, match="was not started: run its lifespan"):
        await under_test_client(outer, lambda client: client.get("/sub/static"))


async def test_mounted_it_is_started_by_the_outer_lifespan(beside: System) -> None:
    app = install(FastAPI(), beside.settings, beside.registry)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/sub", app)
    assert await under_test_client(outer, lambda client: client.get("/sub/quick/1").json()) == 1


async def test_an_error_in_the_user_s_lifespan_ends_that_start_alone(beside: System) -> None:
    failing = ["at the start", "", "at the end", ""]

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        now = failing.pop(0)
        if now == "at the start":
            raise LookupError(now)
        yield
        if now:
            raise LookupError(now)

    app = install(FastAPI(lifespan=lifespan), beside.settings, beside.registry)
    for error in [*failing]:
        with pytest.raises(LookupError, match=error) if error else contextlib.nullcontext():
            assert await under_test_client(app, lambda client: client.get("/static").json()) == "queued"
        assert isinstance(app, GatewayApp)
        app.begin_drain()  # its loop is closed by now


@pytest.mark.parametrize("debug", [False, True])
async def test_the_user_s_last_error_handler_hears_of_all_errors_and_debug_shows_them(
    beside: System, debug: bool
) -> None:
    app, heard = FastAPI(debug=debug), []

    @app.exception_handler(Exception)
    async def hears(request: Request, error: Exception) -> Response:
        heard.append(str(error))
        return PlainTextResponse("mine", 500)

    @app.get("/at-once")
    async def at_once() -> None:
        raise ValueError("at once")

    @app.get("/late")
    async def late() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise ValueError("late")

        return StreamingResponse(parts())

    def ask(client: TestClient) -> list[str]:
        return [client.get(path, headers={"accept": "text/plain"}).text for path in ("/at-once", "/late")]

    install(app, beside.settings, beside.registry)
    first, second = await under_test_client(app, ask, raise_server_exceptions=False)
    assert second == "begun"
    if debug:
        assert "ValueError: at once" in first
    else:
        assert (first, heard) == ("mine", ["at once", "late"])


async def test_nothing_of_the_user_s_is_overwritten(beside: System) -> None:
    app: Any = FastAPI()
    app.settings = app.engine = "mine"
    with pytest.raises(ConfigurationError, match=re.escape("app.engine, app.settings for itself")):
        install(app, beside.settings, beside.registry)
    assert app.settings == app.engine == "mine"

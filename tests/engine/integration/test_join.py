"""What `join` promises of an application: it stays the user's own, whatever serves it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from floodgate.errors import ConfigurationError, FloodgateError, Unavailable
from floodgate.gateway import Refused, call, join
from floodgate.gateway.app import GatewayApp, install
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.gateway.rate_limit import RateLimited
from floodgate.testing import System, SystemFactory
from shared import HTTPError, queued

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have httpx2
    from fastapi.testclient import TestClient

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
START_S = 20
TRACE = "JOIN_TRACE"
"""Names the file that the lifespan writes to."""
CLASHES = "JOIN_CLASHES"


@queued("/quick/{n}", 100)
async def quick(n: int) -> int:
    return n


@queued("/static", 100)
async def static() -> str:
    return "queued"


@queued("/slow", 100, method="POST")
async def slow() -> str:
    await asyncio.sleep(0.8)
    return "answered"


@queued("/detached", 100, async_timeout_s=5)
async def detached() -> str:
    return "done"


def trace(text: str) -> None:
    if path := os.environ.get(TRACE):
        with Path(path).open("a") as file:
            file.write(text + "\n")


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Work through the queue at the start and at the end."""
    connection = HTTPConnection({"type": "http", "app": app, "headers": [], "path": "/", "query_string": b""})
    limit_s = time.monotonic() + START_S
    while True:
        try:
            app.state.first = await call(quick, n=1, request=connection)
            break
        except Refused:  # no worker yet
            assert time.monotonic() < limit_s
            await asyncio.sleep(0.05)
    trace(f"begins after a call: {app.state.first}")
    yield {"given": "by the lifespan"}
    trace(f"ends after a call: {await call(quick, n=2, request=connection)}")


def answer() -> str:
    return "given"


def application(**options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan, **options)

    @app.middleware("http")
    async def note(request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        if request.url.path == "/slow":
            trace("slow has answered")
        response.headers["x-mine"] = f"{response.status_code} {'x-request-id' in response.headers}"
        return response

    @app.get("/plain")
    async def plain(request: Request, found: Annotated[str, Depends(answer)]) -> dict[str, Any]:
        return {"found": found, "state": request.state.given, "url": str(request.url_for("quick", n=3))}

    return app


def build() -> FastAPI:
    """What the servers of these tests run."""
    app = join(application())
    if os.environ.get(CLASHES):
        app.add_api_route("/static", answer)
    return app


@pytest.fixture
async def beside(floodgate: SystemFactory) -> AsyncIterator[System]:
    """A worker, and a gateway of its own."""
    async with floodgate(__name__, gateway=lambda: join(FastAPI())) as system:
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


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(params=["uvicorn", "gunicorn"])
def start(request: pytest.FixtureRequest, beside: System, tmp_path: Path) -> Iterator[Start]:
    """Starts this module's application under a server, on a port of its own."""
    processes: list[subprocess.Popen[bytes]] = []
    given = {
        "REDIS_URL": beside.settings.redis,
        "FLOODGATE_NAMESPACE": beside.settings.namespace,
        "FLOODGATE_HANDLERS": __name__,
        "FLOODGATE_LEASE_S": "1",
        "FLOODGATE_SHUTDOWN_DELAY_S": "0",
        "PYTHONPATH": str(ROOT),
        TRACE: str(tmp_path / "trace"),
    }
    target = f"{__name__}:build"

    def run(port: int, **more: str) -> subprocess.Popen[bytes]:
        (tmp_path / "conf.py").write_text(
            "from floodgate.operations.server import configuration\n"
            "from floodgate.operations.settings import Settings\n"
            f"globals().update(configuration('{target}()', {port}, Settings()))\n"
        )
        command = {
            "uvicorn": ["uvicorn", "--factory", target, "--port", str(port)],
            "gunicorn": ["gunicorn", "-c", str(tmp_path / "conf.py")],
        }[request.param]
        with (tmp_path / "log").open("wb") as log:
            environment = os.environ | given | more
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=tmp_path,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return processes[-1]

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_under_a_server_the_user_s_lifespan_ends_after_the_drain(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        limit_s = time.monotonic() + START_S
        while not await ready(client):
            assert time.monotonic() < limit_s, (tmp_path / "log").read_text()
            await asyncio.sleep(0.1)
        assert (await client.get("/static")).json() == "queued"
        assert (await client.get("/plain")).json()["state"] == "by the lifespan"
        under_way = asyncio.create_task(client.post("/slow"))
        await asyncio.sleep(0.3)
        process.terminate()
        assert (await under_way).json() == "answered"
    await asyncio.to_thread(process.wait, 10)
    assert (tmp_path / "trace").read_text().splitlines() == [
        "begins after a call: 1",
        "slow has answered",
        "ends after a call: 2",
    ]


async def test_under_a_server_a_hidden_route_ends_the_start_with_the_reason(start: Start, tmp_path: Path) -> None:
    process = start(free_port(), **{CLASHES: "yes"})
    assert await asyncio.to_thread(process.wait, START_S) != 0
    assert "GET /static is a queued route" in (tmp_path / "log").read_text()


async def ready(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/-/ready")).status_code == 200
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

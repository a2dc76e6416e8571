"""What gunicorn serves in the benchmark: the gateway with routes beside the queue, and a bare FastAPI application.

The one part of the load tests that knows the gateway: what is compared has to
run in the same application, behind the same middleware.
"""

from __future__ import annotations

from fastapi import FastAPI

from gateway_app.main import GatewayApp, create_app
from loadtest.bench_handlers.routes import DIRECT
from shared.discovery import discover
from shared.logs import configure
from shared.settings import Settings


def build() -> GatewayApp:
    """Return the gateway of the environment, and the same handlers as plain routes of it."""
    configure()
    settings = Settings()
    app = create_app(settings, discover(settings))
    _add_direct(app)
    return app


def bare() -> FastAPI:
    """Return an application that is nothing but the plain routes."""
    configure()
    app = FastAPI()
    _add_direct(app)
    app.add_api_route("/-/ready", _ready, include_in_schema=False)
    return app


def _add_direct(app: FastAPI) -> None:
    for path, function in DIRECT.items():
        app.add_api_route(path, function)


async def _ready() -> None:
    pass

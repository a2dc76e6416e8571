"""The gateway with the tests' extension, for uvicorn's `--factory`."""

from __future__ import annotations

from floodgate.declare.discovery import discover
from floodgate.gateway.app import GatewayApp, create_app
from floodgate.operations.logs import configure
from floodgate.operations.settings import Settings
from tests.e2e.extended import extension


def build() -> GatewayApp:
    """Return the application that the environment describes."""
    configure()
    settings = Settings()
    return create_app(settings, discover(settings), extension)

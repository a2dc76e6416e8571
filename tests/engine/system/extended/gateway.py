"""The gateway with the tests' extension, for uvicorn's `--factory`."""

from __future__ import annotations

from fastapi import FastAPI

from floodgate.gateway import join
from tests.engine.system.extended import extension


def build() -> FastAPI:
    """Return the application that the environment describes."""
    app = FastAPI()
    extension.extend(app)
    return join(app, identify=extension.identify, security=extension.security)

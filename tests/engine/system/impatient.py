"""A worker whose drain is shorter than its handlers may take, which `build` refuses to start."""

from __future__ import annotations

from floodgate.declare.discovery import discover
from floodgate.operations.logs import configure
from floodgate.operations.settings import Settings
from floodgate.worker.app import WorkerApp


def build() -> WorkerApp:
    """Return the worker of the environment, unchecked."""
    configure()
    settings = Settings()
    return WorkerApp(settings, discover(settings))

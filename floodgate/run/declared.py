"""Builds both apps without starting them, so that a mistake only FastAPI sees is found before a start.

`make check` and every reload of `make dev` run it here, `make up` in the image, with the settings of its containers.
"""

from __future__ import annotations

import importlib
import os
import sys

from pydantic import ValidationError

from floodgate.declare.discovery import check_times, discover
from floodgate.errors import ConfigurationError, FloodgateError
from floodgate.operations.settings import Settings, faults
from floodgate.worker.arguments import handler_calls
from floodgate.worker.resources import Resources


def declared() -> int:
    """Print the mistake, if there is one; return the exit code."""
    if "REDIS_URL" not in os.environ:  # nothing connects here, so `make check` need not have one
        os.environ |= {"REDIS_URL": "redis://127.0.0.1:6379/0", "FLOODGATE_NAMESPACE": "declared"}
    try:
        settings = Settings()
    except (ValidationError, ConfigurationError) as error:
        print(*faults(error), sep="\n", file=sys.stderr)
        return 1
    try:
        registry = discover(settings)
        check_times(settings, registry)
        importlib.import_module("gateway_app.main").build()
        handler_calls(registry, Resources([]))
    except FloodgateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0

"""Builds both apps without starting them, so that a mistake only FastAPI sees is found before a start.

`make check` and every reload of `make dev` run it here, `make up` in the image, with the settings of its containers.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from floodgate.declare.discovery import check_times, discover
from floodgate.errors import ConfigurationError, FloodgateError
from floodgate.operations.settings import Settings, faults
from floodgate.worker.arguments import handler_calls
from floodgate.worker.resources import Resources

ENGINE = str(Path(__file__).parents[1])


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
        registry = discover(settings)  # `build` does it, too: here a mistake is shown without the way through it
        check_times(settings, registry)
        app = importlib.import_module("gateway_app.main").build()
        if not hasattr(app, "check_paths"):
            raise ConfigurationError("gateway_app/main.py: build() has to return what join() returned")
        app.check_paths()
        handler_calls(registry, Resources([]))
    except FloodgateError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        print(
            *traceback.format_exception(type(error), error, _users_part(error.__traceback__)), sep="", file=sys.stderr
        )
        return 1
    return 0


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without what leads to the user's module: the engine's frames, and those of the import."""
    while frames is not None:
        name = frames.tb_frame.f_code.co_filename
        if not (name.startswith((ENGINE, "<frozen")) or name == importlib.__file__):
            break
        frames = frames.tb_next
    return frames

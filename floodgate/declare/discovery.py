"""Imports every module of the handlers' package, builds the registry, and checks that the settings fit it.

Any failure ends the start: a service that came up without some of its routes would
look healthy. `python -m floodgate.declare.discovery` checks and prints the routes.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Registry, declared_in
from floodgate.errors import ConfigurationError, DeclarationError, FloodgateError
from floodgate.operations.settings import KILL_MARGIN_S, Settings

log = logging.getLogger("floodgate")


def discover(settings: Settings) -> Registry:
    """Import `settings.handlers` with all its modules; return what they declare.

    Raises `DeclarationError` for a mistake in a declaration or a package that is
    not there; whatever a module itself raises at import passes through.
    """
    name = settings.handlers
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise DeclarationError(
            f"there is no package {name!r}; set FLOODGATE_HANDLERS to one that can be imported"
        ) from error
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        importlib.import_module(module.name)
    return build_registry(declared_in(name), settings.timeout_s)


def check_times(settings: Settings, registry: Registry) -> None:
    """See that a leaving process may end what it has begun, or raise `ConfigurationError` with the setting.

    A stream may be longer than the drain: it is warned of, and cut.

    The order: FLOODGATE_STOP_GRACE_S, when told, > gunicorn's graceful_timeout > FLOODGATE_DRAIN_S > every `timeout_s`.
    """
    grace_s, own_s = settings.stop_grace_s, settings.graceful_timeout_s
    if grace_s is not None and grace_s <= own_s:
        raise ConfigurationError(
            f"FLOODGATE_STOP_GRACE_S is {grace_s:g}, and a leaving process may take {own_s} s "
            f"(FLOODGATE_SHUTDOWN_DELAY_S {settings.shutdown_delay_s:g} "
            f"+ FLOODGATE_DRAIN_S {settings.drain_s:g} + {KILL_MARGIN_S}): "
            f"set FLOODGATE_STOP_GRACE_S above {own_s}, or lower FLOODGATE_DRAIN_S"
        )
    longest = max(registry.handlers, key=lambda handler: handler.timeout_s, default=None)
    if longest is not None and longest.timeout_s >= settings.drain_s:
        raise ConfigurationError(
            f"{longest.source}: {longest.name}: timeout_s is {longest.timeout_s:g}, and a leaving process ends its "
            f"work within FLOODGATE_DRAIN_S, {settings.drain_s:g}: set FLOODGATE_DRAIN_S above {longest.timeout_s:g}, "
            "or lower timeout_s (its default is FLOODGATE_TIMEOUT_S)"
        )
    for handler in registry.handlers:
        if handler.resumable:
            raise ConfigurationError(
                f"{handler.source}: {handler.name}: resumable=True is not served yet; leave it out, "
                "and let clients ask again from the start"
            )
        if handler.stream_s is not None and handler.stream_s > settings.drain_s:
            log.warning(
                f"{handler.source}: {handler.name}: stream_s is {handler.stream_s:g}, and a leaving process cuts what "
                f"streams after FLOODGATE_DRAIN_S, {settings.drain_s:g}: raise the one or lower the other, "
                "or let clients ask again"
            )


def main() -> int:
    """Print the routes, or the mistake; return the exit code."""
    try:
        settings = Settings()
        registry = discover(settings)
        check_times(settings, registry)
    except FloodgateError as error:
        print(error, file=sys.stderr)
        return 1
    for handler in registry.handlers:
        print(f"{handler.method:6} {handler.path:30} {handler.max_concurrency:5}  {handler.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

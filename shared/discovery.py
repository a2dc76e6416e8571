"""Imports every module of the handlers' package and returns the sealed registry.

Any failure is fatal: a service that came up without some of its routes would
look healthy. `python -m shared.discovery` checks and prints the routes.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

from shared.errors import DeclarationError, FloodgateError
from shared.registry import Registry, declared_in
from shared.sealing import seal
from shared.settings import Settings


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
        raise DeclarationError(f"there is no package {name!r}; set HANDLERS to one that can be imported") from error
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
        importlib.import_module(module.name)
    return seal(declared_in(name), settings.timeout_s)


def main() -> int:
    """Print the routes, or the mistake; return the exit code."""
    try:
        registry = discover(Settings())
    except FloodgateError as error:
        print(error, file=sys.stderr)
        return 1
    for handler in registry.handlers:
        print(f"{handler.method:6} {handler.path:30} {handler.max_concurrency:5}  {handler.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

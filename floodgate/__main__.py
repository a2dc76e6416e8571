"""Runs the engine's commands, which make calls too.

Owns their names and arguments. Imports the module of the named command alone, so that
`up` and all that is done with containers run on an interpreter with nothing installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

MANY = {"--gateways": "how many; else GATEWAYS of the environment", "--workers": "how many; else WORKERS"}
COMMANDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "dev": ("dev", "run the whole system on this machine; reload on change, end with Ctrl-C", {}),
    "up": ("containers", "build and start the whole system in containers", MANY),
    "down": ("containers", "drain the containers and remove them; what Redis keeps stays", {}),
    "logs": ("containers", "follow the logs of the containers", {"service": "one of them; else SERVICE, else all"}),
    "ps": ("containers", "list the containers", {}),
    "scale": ("containers", "start or drain containers while the system runs", MANY),
    "roll": ("containers", "replace workers and gateways by the code as it is, one by one, while they serve", {}),
    "check": ("check", "check sizes, headers and what must never be committed", {}),
    "declared": ("declared", "build both apps without starting them, and print what is wrong", {}),
    "pin": ("pin", "pin the images to what their tags mean today", {}),
    "audit": ("audit", "ask which locked packages are known to be vulnerable; 2: the database cannot be reached", {}),
    "acl": ("acl", "print the rules of the apps' user, for a Redis of your own", {"namespace": "FLOODGATE_NAMESPACE"}),
}
"""Command to its module in `floodgate.run`, its help and its arguments. The function there has the command's name."""


def main() -> int:
    """Run the command of the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m floodgate", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text, arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        for argument, meaning in arguments.items():
            given = os.environ.get(argument.lstrip("-").upper())
            optional = {} if argument.startswith("-") or argument == "namespace" else {"nargs": "?"}
            command.add_argument(argument, help=meaning, default=given, **optional)  # type: ignore[arg-type]
    options = vars(parser.parse_args())
    name = options.pop("command")
    return int(getattr(importlib.import_module(f"floodgate.run.{COMMANDS[name][0]}"), name)(**options))


if __name__ == "__main__":
    sys.exit(main())

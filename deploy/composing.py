"""Docker and its compose on the command line, and what docker-compose.yml comes to with all variables filled in.

Must not know in what order things are done.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

PUBLIC, OPERATORS = 8000, 8001
"""The balancer's ports inside its container."""


class Failed(Exception):
    """A command of docker failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the compose file wants of this machine."""

    port: int
    ops_port: int
    handlers: str


def need_docker() -> None:
    """Raise `Failed` with the mend where there is no engine, or no Compose v2."""
    try:
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Failed("Docker with Compose v2 is needed: https://docs.docker.com/engine/install/") from None
    if (asked := subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)).returncode:
        raise Failed(f"the Docker engine does not answer: {asked.stderr.strip()}")


def docker(*words: str) -> str:
    """Run docker and return what it printed; raise `Failed` with what it said instead."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed((done.stdout + done.stderr).strip())
    return done.stdout + done.stderr


def compose(*words: str, quiet: bool = False) -> None:
    """Run docker compose before our user's eyes; `quiet` shows nothing, unless it fails."""
    if quiet:
        docker("compose", "--progress", "quiet", *words)
    elif subprocess.run(["docker", "compose", *words], check=False).returncode:
        raise Failed(f"docker compose {' '.join(words)}: failed; its lines above say why")


def containers(service: str) -> list[str]:
    """Return the ids of a service's running containers."""
    return docker("compose", "ps", "--quiet", "--status", "running", service).split()


def plan() -> Plan:
    """Read the compose file with all that .env and the shell say."""
    config = json.loads(docker("compose", "config", "--format", "json"))
    ports = {port["target"]: int(port["published"]) for port in config["services"]["balancer"]["ports"]}
    handlers = config["services"]["worker"]["environment"].get("HANDLERS") or "shared.handlers"
    return Plan(ports[PUBLIC], ports[OPERATORS], handlers)

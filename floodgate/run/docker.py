"""Docker and its compose on the command line, and what docker-compose.yml comes to with all variables filled in.

Must not know in what order things are done.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

PUBLIC, OPERATORS = 8000, 8001
"""The balancer's ports inside its container."""
FLEETS = {"gateway": "GATEWAYS", "worker": "WORKERS"}
"""What comes in numbers, and the variable that says how many."""


class Failed(Exception):
    """A command of docker failed; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the compose file wants of this machine."""

    port: int
    ops_port: int
    handlers: str
    gateways: int
    workers: int
    image: str
    """Of both apps."""
    namespace: str
    settings: frozenset[str]
    """The variables of the apps."""
    redis_url: str
    """Of one's own; empty where it is the one of the compose file."""
    passwords: tuple[str, str]
    """Of the apps' user and of the administrator in the Redis of the compose file; empty where not set."""
    start_s: float
    """What an app may take to be ready."""


def need_docker() -> None:
    """Raise `Failed` with the repair where there is no engine, or no Compose v2."""
    try:
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Failed("Docker with Compose v2 is needed: https://docs.docker.com/engine/install/") from None
    if (asked := subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)).returncode:
        why = asked.stderr.strip().splitlines()[:1] or [f"docker info ended with {asked.returncode}"]
        raise Failed(f"the Docker engine does not answer, start it or ask for access to it: {why[0]}")


def docker(*words: str, **variables: str) -> str:
    """Run docker and return what it printed; raise `Failed` with what it said instead."""
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    if done.returncode:
        raise Failed((done.stdout + done.stderr).strip())
    return done.stdout


def show_log(container: str, lines: int) -> None:
    """Print the last lines of a container, of both its outputs."""
    subprocess.run(["docker", "logs", "--tail", str(lines), container], stderr=subprocess.STDOUT, check=False)


def compose(*words: str, quiet: bool = False, **variables: str) -> None:
    """Run docker compose before our user's eyes; `quiet` shows nothing, unless it fails."""
    if quiet:
        docker("compose", "--progress", "quiet", *words, **variables)
    elif subprocess.run(["docker", "compose", *words], check=False, env={**os.environ, **variables}).returncode:
        raise Failed(f"docker compose {' '.join(words)}: failed; its lines above say why")


def containers(service: str, *, running: bool = False) -> list[str]:
    """Return the ids of a service's containers; if not `running`, those that are stopped or restarted as well."""
    which = ("--status", "running") if running else ("--all",)
    return docker("compose", "ps", "--quiet", *which, service).split()


def is_healthy(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy"


def bring(fleet: str, number: int) -> None:
    """Add or drain containers of one fleet, and wait until all are healthy.

    Not with `--no-deps`: compose then takes them for containers of another
    configuration, and the next `make up` would replace all at once.
    """
    numbers = {other: len(containers(other)) for other in FLEETS} | {fleet: number}
    scales = [word for other, many in numbers.items() for word in ("--scale", f"{other}={many}")]
    compose("up", "--detach", "--wait", "--no-build", "--no-recreate", *scales, *FLEETS, quiet=True)


def published(service: str) -> set[int]:
    """Return the ports of this machine that a service's running containers have."""
    listed = [json.loads(line) for line in docker("compose", "ps", "--format", "json", service).splitlines()]
    return {port["PublishedPort"] for one in listed for port in one.get("Publishers") or ()}


def plan() -> Plan:
    """Read the compose file with all that .env and the shell say."""
    try:
        told = json.loads(docker("compose", "config", "--format", "json"))
    except Failed as error:
        if many := re.search(r"services\.([a-z-]+)\.deploy\.replicas", str(error)):
            raise Failed(f"{many[1].replace('-', '_').upper()}S must be a whole number") from None
        raise Failed(f"docker-compose.yml does not go with what .env and the shell set: {error}") from None
    services, redis = told["services"], told["x-make"]["redis"]
    ports = {port["target"]: int(port["published"]) for port in services["balancer"]["ports"]}
    gateways, workers = (int(services[fleet]["deploy"]["replicas"]) for fleet in ("gateway", "worker"))
    given = services["worker"]["environment"]
    return Plan(
        port=ports[PUBLIC],
        ops_port=ports[OPERATORS],
        handlers=given.get("FLOODGATE_HANDLERS") or "shared.handlers",
        gateways=gateways,
        workers=workers,
        image=services["gateway"]["image"],
        namespace=given["FLOODGATE_NAMESPACE"],
        settings=frozenset(given),
        redis_url=redis["url"],
        passwords=(redis["password"], redis["admin_password"]),
        start_s=float(told["x-make"]["start_s"]),
    )

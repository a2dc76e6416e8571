"""`make up` and its neighbours: the system in containers, through docker compose.

Owns what compose leaves out: the trial of the handlers before anything is replaced,
the wait for the first answer, and replacing containers one by one. Runs before
anything is installed, so it takes the standard library alone. What the services
are, and how many, stands in docker-compose.yml.
"""

from __future__ import annotations

import os
import re
import sys
import time
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path

from floodgate.run import rolling
from floodgate.run.acl import users
from floodgate.run.asking import ASK_S, DIRECTLY, HOST, answer, askable, editable, taken
from floodgate.run.composing import (
    FLEETS,
    Failed,
    Plan,
    bring,
    compose,
    containers,
    docker,
    need_docker,
    plan,
    published,
)
from floodgate.run.secret import PASSWORDS, TOKEN, keep_secrets

ENV_FILE = Path(".env")
USERS = Path("deploy/redis/users.acl")
FIRST_ANSWER_S = 30.0
"""From the first ready app to an answer."""
POLL_S = 0.2
STEADY = 4
"""Answers in turn: the balancer takes a gateway that it has just found for ready, until it has asked it."""
SLOTS = 16
"""Gateways that the balancer has room for: `server-template` in deploy/haproxy/haproxy.cfg."""
CANDIDATE = "next"
"""Tag of an image that was built and not tried yet."""


def up() -> None:
    """Build, try the handlers, start what is not running, wait for an answer, say where everything is."""
    wanted = plan()
    _check_numbers({"GATEWAYS": wanted.gateways, "WORKERS": wanted.workers})
    _check_ports({"GATEWAY_PORT": wanted.port, "OPS_PORT": wanted.ops_port})
    made = keep_secrets(ENV_FILE, os.environ, (TOKEN, *(() if wanted.redis.url else PASSWORDS)))
    if made:
        say(f"made {', '.join(made)} in {ENV_FILE}")
    wanted = plan()
    _build_and_try(wanted.image)
    if set(made) & set(PASSWORDS) and containers("redis", running=True):
        say("Redis restarts once, to ask for its password from now on; what it keeps stays")
    _allow(wanted, also_before=True)
    compose("up", "--detach", "--no-build", "--remove-orphans")
    path = _first_answer(f"http://{HOST}:{wanted.port}", wanted.start_s + FIRST_ANSWER_S)
    _allow(wanted)
    _announce(wanted, path)


def down() -> None:
    """Drain and remove everything but the data of Redis."""
    compose("--profile", "*", "down", "--remove-orphans")


def logs() -> None:
    """Follow the logs, of one SERVICE or of all."""
    service = os.environ.get("SERVICE")
    os.execvp(
        "docker", ["docker", "compose", "--profile", "*", "logs", "--follow", "--tail", "100", *filter(None, [service])]
    )


def ps() -> None:
    """List the containers."""
    compose("--profile", "*", "ps")


def scale() -> None:
    """Bring a running system to GATEWAYS and WORKERS; what goes is drained first."""
    given = {variable: os.environ[variable] for variable in FLEETS.values() if os.environ.get(variable)}
    if not given or not all(number.isdecimal() for number in given.values()):
        raise Failed("say how many: make scale GATEWAYS=3 WORKERS=8 (one of them is enough)")
    numbers = {variable: int(number) for variable, number in given.items()}
    _check_numbers(numbers)
    _check_running()
    for fleet, variable in FLEETS.items():
        if variable in numbers:
            try:
                bring(fleet, numbers[variable])
            except Failed as error:
                raise Failed(f"{error}; why, says make logs SERVICE={fleet}") from error
    ps()


def roll() -> None:
    """Replace every worker and gateway by one of the code as it is now, while it serves; nobody notices."""
    _check_running()
    wanted = plan()
    before = docker("image", "inspect", "--format", "{{.Id}}", wanted.image).strip()
    _build_and_try(wanted.image)
    _allow(wanted, also_before=True)
    rolling.roll(say, lambda: docker("tag", before, wanted.image))
    _allow(wanted)


def _check_numbers(numbers: Mapping[str, int]) -> None:
    for variable, number in numbers.items():
        if number < 1:
            raise Failed(f"{variable} is {number}: nobody would answer; make it at least 1, or stop all with make down")
    if numbers.get("GATEWAYS", 1) > SLOTS:
        raise Failed(
            f"the balancer has {SLOTS} slots for gateways: raise server-template in deploy/haproxy/haproxy.cfg, "
            "and SLOTS in floodgate/run/up.py"
        )


def _check_ports(ports: Mapping[str, int]) -> None:
    ours = published("balancer")
    for variable, port in ports.items():
        if port not in ours and taken(port):
            raise Failed(f"port {port} is taken: choose another with {variable}, e.g. {variable}={port + 100} make up")
    if len(set(ports.values())) < len(ports):
        raise Failed(f"{' and '.join(ports)} must differ")


def _check_running() -> None:
    for service in ("balancer", *FLEETS):
        if not containers(service, running=True):
            raise Failed(f"no {service} is running: make up first")


def _build_and_try(image: str) -> None:
    """Build the image of both apps under a name of its own, and give it the right one once it is known to start.

    Else whatever starts later, by `make scale` or a restart, would be of the mistake.
    """
    compose("build", "--quiet", APP_TAG=CANDIDATE)
    trial = ("run", "--rm", "--no-deps", "-T", "gateway", "python", "-m", "floodgate.run.declared")
    try:
        compose(*trial, quiet=True, APP_TAG=CANDIDATE)
    except Failed as mistake:
        raise Failed(f"the apps would not start, so nothing was changed:\n{mistake}") from mistake
    docker("tag", f"{image.rpartition(':')[0]}:{CANDIDATE}", image)


def _allow(wanted: Plan, *, also_before: bool = False) -> None:
    """Write who may do what in the Redis of the compose file, and have a running one read it."""
    redis = wanted.redis
    if redis.url or not redis.password:
        return
    for name, password in zip(PASSWORDS, (redis.password, redis.admin_password), strict=True):
        if not re.fullmatch(r"[\w.~-]+", password, re.ASCII):
            raise Failed(f"{name} is a part of an address: letters, digits and -._~ only")
    before = USERS.read_text() if USERS.exists() else ""
    text = users(wanted.namespace, redis.password, redis.admin_password, before if also_before else "")
    if text != before:
        USERS.write_text(text)
        USERS.chmod(0o644)  # digests of long random words, for the user of the container
        for container in containers("redis", running=True):
            load = ("exec", "--env", "REDISCLI_AUTH", container, "redis-cli", "ACL", "LOAD")
            said = docker(*load, REDISCLI_AUTH=redis.admin_password).strip()
            if said != "OK" and "not configured to use an ACL file" not in said:  # that one is about to be replaced
                raise Failed(f"Redis did not take its users ({said}): docker compose restart redis, then this again")


def _first_answer(url: str, limit_s: float) -> str | None:
    """Wait until a route answers; return its path, None where no route can be asked without more ado."""
    deadline, in_turn = time.monotonic() + limit_s, 0
    while time.monotonic() < deadline:
        document = answer(f"{url}/openapi.json")
        path = None if document is None else askable(document)
        in_turn = in_turn + 1 if document is not None and (path is None or _answers(url + path)) else 0
        if in_turn == STEADY:
            return path
        time.sleep(POLL_S)
    compose("logs", "--tail", "20", "redis", "worker", "gateway", "balancer")
    compose("ps", "--all")
    raise Failed(f"no answer within {limit_s:g} s; the lines above may say why")


def _answers(url: str) -> bool:
    """Tell whether somebody answers, if only that the request is not welcome."""
    try:
        with DIRECTLY.open(url, timeout=ASK_S):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False


def _announce(wanted: Plan, path: str | None) -> None:
    url = f"http://{HOST}:{wanted.port}"
    say("ready")
    say(f"  docs: {url}/docs")
    if path is not None:
        say(f"  try:  curl {url}{path}")
    say(f"  edit: {editable(wanted.handlers)}, then make roll")
    say(f"  ops:  http://{HOST}:{wanted.ops_port}/-/metrics with {TOKEN}" + (" of .env" if ENV_FILE.exists() else ""))


def say(text: str) -> None:
    """Print a line of our own."""
    print(f"up      | {text}", flush=True)


COMMANDS: Mapping[str, Callable[[], None]] = {
    "up": up, "down": down, "logs": logs, "ps": ps, "scale": scale, "roll": roll
}  # fmt: skip


def main() -> int:
    """Do what is named on the command line; return the exit code."""
    try:
        need_docker()
        COMMANDS[sys.argv[1]]()
    except Failed as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

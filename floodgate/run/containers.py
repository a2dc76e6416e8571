"""`make up`, `down`, `logs`, `ps`, `scale` and `roll`: the system in containers, through docker compose.

Owns what compose leaves out: the trial of the handlers before anything is replaced,
the wait for the first answer, and replacing containers one by one. Needs the standard
library alone. What the services are, and how many, stands in docker-compose.yml.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from floodgate.operations import environment
from floodgate.run.acl import users
from floodgate.run.docker import FLEETS, Failed, Plan, bring, compose, containers, docker, need_docker, plan, published
from floodgate.run.env_file import PASSWORDS, TOKEN, keep_secrets, variables
from floodgate.run.readiness import HOST, announce, first_path, get, taken
from floodgate.run.roll import check_format, replace

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
TYPED = ("ops_token", "gateway_port", "worker_port")
"""Settings that docker-compose.yml makes of variables without the prefix, or sets itself."""


def _command(do: Callable[..., None]) -> Callable[..., int]:
    """Make a command of the command line: it needs docker, says what failed, and returns an exit code."""

    @functools.wraps(do)
    def command(**options: str | None) -> int:
        try:
            need_docker()
            do(**options)
        except Failed as error:
            say(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
        return 0

    return command


@_command
def up(gateways: str | None, workers: str | None) -> None:
    """Build, try the handlers, start what is not running, wait for an answer, say where everything is."""
    os.environ |= {name: number for name, number in {"GATEWAYS": gateways, "WORKERS": workers}.items() if number}
    wanted = plan()
    _check_numbers({"GATEWAYS": wanted.gateways, "WORKERS": wanted.workers})
    _check_ports({"GATEWAY_PORT": wanted.port, "OPS_PORT": wanted.ops_port})
    warn_of_old_names(wanted.settings)
    made = keep_secrets(ENV_FILE, os.environ, (TOKEN, *(() if wanted.redis_url else PASSWORDS)))
    if made:
        say(f"made {', '.join(made)} in {ENV_FILE}")
    wanted = plan()
    _build_and_try()
    _release(wanted.image)
    if set(made) & set(PASSWORDS) and containers("redis", running=True):
        say("Redis restarts once, to ask for its password from now on; what it keeps stays")
    _allow(wanted, also_before=True)
    compose("up", "--detach", "--no-build", "--remove-orphans")
    path = _first_answer(f"http://{HOST}:{wanted.port}", wanted.start_s + FIRST_ANSWER_S)
    _allow(wanted)
    announce(say, wanted.port, path, wanted.handlers, ", then make roll")
    say(f"  ops:  http://{HOST}:{wanted.ops_port}/-/metrics with {TOKEN}" + (" of .env" if ENV_FILE.exists() else ""))


@_command
def down() -> None:
    """Drain and remove everything but the data of Redis."""
    compose("--profile", "*", "down", "--remove-orphans")


@_command
def logs(service: str | None) -> None:
    """Follow the logs, of one service or of all."""
    words = ["docker", "compose", "--profile", "*", "logs", "--follow", "--tail", "100"]
    os.execvp("docker", [*words, *filter(None, [service])])


@_command
def ps() -> None:
    """List the containers."""
    compose("--profile", "*", "ps")


@_command
def scale(gateways: str | None, workers: str | None) -> None:
    """Bring a running system to so many gateways and workers; what goes is drained first."""
    given = {fleet: number for fleet, number in {"gateway": gateways, "worker": workers}.items() if number}
    if not given or not all(number.isdecimal() for number in given.values()):
        raise Failed("say how many: make scale GATEWAYS=3 WORKERS=8 (one of them is enough)")
    _check_numbers({FLEETS[fleet]: int(number) for fleet, number in given.items()})
    _check_running()
    for fleet, number in given.items():
        try:
            bring(fleet, int(number))
        except Failed as error:
            raise Failed(f"{error}; why, says make logs SERVICE={fleet}") from error
    compose("--profile", "*", "ps")


@_command
def roll() -> None:
    """Replace every worker and gateway by one of the code as it is now, while it serves; nobody notices."""
    _check_running()
    wanted = plan()
    before = docker("image", "inspect", "--format", "{{.Id}}", wanted.image).strip()
    _build_and_try()
    check_format(CANDIDATE)
    _release(wanted.image)
    _allow(wanted, also_before=True)
    replace(say, lambda: docker("tag", before, wanted.image))
    _allow(wanted)


def warn_of_old_names(settings: Iterable[str]) -> None:
    """Say which of the apps' variables `.env` or the shell sets under a name that is not read any more."""
    names = [name.removeprefix(environment.PREFIX).lower() for name in settings if name.startswith(environment.PREFIX)]
    for line in environment.notes(variables(ENV_FILE) | os.environ, [name for name in names if name not in TYPED]):
        say(line)


def _check_numbers(numbers: Mapping[str, int]) -> None:
    for variable, number in numbers.items():
        if number < 1:
            raise Failed(f"{variable} is {number}: nobody would answer; make it at least 1, or stop all with make down")
    if numbers.get("GATEWAYS", 1) > SLOTS:
        raise Failed(
            f"the balancer has {SLOTS} slots for gateways: raise server-template in deploy/haproxy/haproxy.cfg, "
            "and SLOTS in floodgate/run/containers.py"
        )


def _check_ports(ports: Mapping[str, int]) -> None:
    ours = published("balancer")
    for variable, port in ports.items():
        if port not in ours and (said := taken(variable, port, "make up")):
            raise Failed(said)
    if len(set(ports.values())) < len(ports):
        raise Failed(f"{' and '.join(ports)} must differ")


def _check_running() -> None:
    for service in ("balancer", *FLEETS):
        if not containers(service, running=True):
            raise Failed(f"no {service} is running: make up first")


def _build_and_try() -> None:
    """Build the image of both apps under a name of its own.

    It gets the right one by `_release` once it is known to start: else whatever starts later, by `make scale` or a
    restart, would be of the mistake.
    """
    compose("build", "--quiet", APP_TAG=CANDIDATE)
    trial = ("run", "--rm", "--no-deps", "-T", "gateway", "python", "-m", "floodgate", "declared")
    try:
        compose(*trial, quiet=True, APP_TAG=CANDIDATE)
    except Failed as mistake:
        raise Failed(f"the apps would not start, so nothing was changed:\n{mistake}") from mistake


def _release(image: str) -> None:
    docker("tag", f"{image.rpartition(':')[0]}:{CANDIDATE}", image)


def _allow(wanted: Plan, *, also_before: bool = False) -> None:
    """Write who may do what in the Redis of the compose file, and have a running one read it."""
    if wanted.redis_url or not wanted.passwords[0]:
        return
    for name, password in zip(PASSWORDS, wanted.passwords, strict=True):
        if not re.fullmatch(r"[\w.~-]+", password, re.ASCII):
            raise Failed(f"{name} is a part of an address: letters, digits and -._~ only")
    before = USERS.read_text() if USERS.exists() else ""
    text = users(wanted.namespace, *wanted.passwords, before if also_before else "")
    if text != before:
        USERS.write_text(text)
        USERS.chmod(0o644)  # digests of long random words, for the user of the container
        for container in containers("redis", running=True):
            load = ("exec", "--env", "REDISCLI_AUTH", container, "redis-cli", "ACL", "LOAD")
            said = docker(*load, REDISCLI_AUTH=wanted.passwords[1]).strip()
            if said != "OK" and "not configured to use an ACL file" not in said:  # that one is about to be replaced
                raise Failed(f"Redis did not take its users ({said}): docker compose restart redis, then this again")


def _first_answer(url: str, limit_s: float) -> str | None:
    """Wait until a route answers; return its path, None where no route can be asked without more ado."""
    deadline, in_turn = time.monotonic() + limit_s, 0
    while time.monotonic() < deadline:
        status, document = get(f"{url}/openapi.json")
        path = first_path(document) if status == 200 else None
        answers = status == 200 and (path is None or 0 < get(url + path)[0] < 500)  # a refusal is an answer too
        in_turn = in_turn + 1 if answers else 0
        if in_turn == STEADY:
            return path
        time.sleep(POLL_S)
    compose("logs", "--tail", "20", "redis", "worker", "gateway", "balancer")
    compose("ps", "--all")
    raise Failed(f"no answer within {limit_s:g} s; the lines above may say why")


def say(text: str) -> None:
    """Print a line of our own."""
    print(f"up      | {text}", flush=True)

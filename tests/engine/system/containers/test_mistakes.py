"""What is set or asked for by mistake is named with its mend, and changes nothing that runs."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import pytest

from floodgate.broker.keys import FORMAT
from tests.engine.system.containers.stack import ROOT, Stack

SERVICES = ("redis", "worker", "gateway", "balancer")

pytestmark = pytest.mark.timeout(300)


def refused(stack: Stack, *words: str) -> str:
    """Return what `make` says when it refuses; nothing of the running system is replaced by that."""
    before, image = {service: stack.containers(service) for service in SERVICES}, stack.image()
    said = stack.run("env", *words[1:], "make", "--no-print-directory", words[0], fails=True)
    assert {service: stack.containers(service) for service in SERVICES} == before
    assert stack.image() == image, "what is started from now on is of what was tried"
    assert stack.status("/trial") == 200
    assert "Traceback" not in said
    return said


MISTAKES = {
    ("GATEWAYS=0",): "GATEWAYS is 0: .* at least 1",
    ("GATEWAYS=17",): "16 slots for gateways: raise server-template",
    ("WORKERS=abc",): "WORKERS must be a whole number",
    ("GATEWAY_PORT=abc",): "what .env and the shell set: .*abc",
    ("GATEWAY_PORT=59999", "OPS_PORT=59999"): "GATEWAY_PORT and OPS_PORT must differ",
    ("OPS_TOKEN=short",): "OPS_TOKEN: .*at least 16",
    ("REDIS_URL=redis://127.0.0.1:6379/0",): "FLOODGATE_NAMESPACE: name it where REDIS_URL is set",
    ("FLOODGATE_LEASE_S=long",): "FLOODGATE_LEASE_S: .*number",
    ("FLOODGATE_DRAIN_S=20",): "set FLOODGATE_DRAIN_S above 25",
    ("FLOODGATE_STOP_GRACE_S=38",): "FLOODGATE_STOP_GRACE_S",
}


@pytest.mark.docker
@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_value_that_cannot_be_is_named(stack: Stack, words: tuple[str, ...]) -> None:
    assert re.search(MISTAKES[words], refused(stack, "up", *words))


@pytest.mark.docker
@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "OPS_PORT"])
def test_a_taken_port_is_named_with_the_variable_that_chooses_another(stack: Stack, variable: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} is taken: choose another with {variable}" in refused(stack, "up", f"{variable}={port}")


@pytest.mark.docker
@pytest.mark.parametrize("target", ["up", "roll"])
def test_a_handler_that_outlasts_the_drain_is_refused_before_anything_is_replaced(stack: Stack, target: str) -> None:
    routes = stack.routes.read_text()
    stack.routes.write_text(routes.replace("timeout_s=25", "timeout_s=31"))
    try:
        said = refused(stack, target)
    finally:
        stack.routes.write_text(routes)
    assert re.search(r"trial\.py:\d+: longest: timeout_s is 31, .*set FLOODGATE_DRAIN_S above 31", said)


@pytest.mark.docker
def test_a_roll_to_another_format_of_keys_is_refused_before_anything_is_replaced(stack: Stack) -> None:
    keys = stack.root / "floodgate/broker/keys.py"
    text = keys.read_text()
    keys.write_text(text.replace(f"\nFORMAT = {FORMAT}\n", f"\nFORMAT = {FORMAT + 1}\n"))
    try:
        said = refused(stack, "roll")
    finally:
        keys.write_text(text)
    assert re.search(rf"in format {FORMAT}, the code as it is now in format {FORMAT + 1}: .*make down up", said)


@pytest.mark.docker
@pytest.mark.parametrize("words", [(), ("WORKERS=many",), ("GATEWAYS=-1",), ("WORKERS=0",)], ids=" ".join)
def test_scaling_wants_to_know_how_many(stack: Stack, words: tuple[str, ...]) -> None:
    without = ("GATEWAYS=", "WORKERS=")
    assert re.search("make scale GATEWAYS=3 WORKERS=8|at least 1", refused(stack, "scale", *without, *words))


@pytest.mark.docker
@pytest.mark.parametrize("target", ["scale", "roll"])
def test_where_nothing_runs_there_is_nothing_to_scale_or_roll(stack: Stack, target: str) -> None:
    assert "make up first" in refused(stack, target, "COMPOSE_PROJECT_NAME=floodgate-test-nobody")


@pytest.mark.docker
def test_an_engine_that_does_not_answer_is_told_from_one_that_is_not_there(stack: Stack) -> None:
    said = refused(stack, "up", "DOCKER_HOST=unix:///nowhere/docker.sock")
    assert re.search("the Docker engine does not answer, start it .*/nowhere/docker.sock", said)


def test_without_docker_it_says_where_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "floodgate", "up"],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"up +\| Docker with Compose v2 is needed: https://docs\.docker\.com/\S+\n", done.stdout)

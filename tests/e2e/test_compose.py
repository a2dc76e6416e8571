"""`docker compose up` on a real engine: four routes answer through the one published port, and it ends cleanly."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def compose(*arguments: str, port: int, timeout_s: float = 300) -> str:
    command = ["docker", "compose", "-p", "floodgate-test", *arguments]
    environment = {**os.environ, "GATEWAY_PORT": str(port)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs a Docker engine with Compose v2 (Debian: docker.io, docker-compose)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    try:
        compose("up", "--build", "--wait", "--wait-timeout", "120", port=number)
        yield number
    finally:
        compose("down", "--volumes", "--timeout", "10", port=number)


def test_the_routes_answer_through_the_published_port(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
        assert client.get("/-/live").status_code == 404
        if "/async-test" not in client.get("/openapi.json").json()["paths"]:
            return  # the demo is gone
        assert client.get("/").json() == {"hello": "world"}
        assert client.get("/sync-test", params={"x": 7}).json() is True
        assert client.get("/async-test", params={"n": 10}).json() == 55
        order = {"item": "tea", "quantity": 2, "price": "1.50"}
        assert client.post("/orders", json=order).json()["total"] == "3.00"


def test_only_the_balancer_is_published_and_nobody_is_root(port: int) -> None:
    assert str(port) in compose("ps", "--format", "{{.Ports}}", "balancer", port=port)
    for service in ("redis", "gateway", "worker"):
        assert "->" not in compose("ps", "--format", "{{.Ports}}", service, port=port)
    assert compose("exec", "-T", "worker", "id", "-u", port=port).strip() == "10001"


def test_without_a_worker_a_route_answers_503_and_comes_back_with_one(port: int) -> None:
    compose("stop", "worker", port=port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
        paths = client.get("/openapi.json").json()["paths"]
        if "/" not in paths:
            return  # the demo is gone
        refused = client.get("/")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        compose("up", "--wait", "worker", port=port)
        until_s = time.monotonic() + 5
        while client.get("/").status_code == 503 and time.monotonic() < until_s:
            time.sleep(0.2)
        assert client.get("/").status_code == 200

